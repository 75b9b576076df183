"""Sizes that follow from the configurations of a Stable Diffusion 3.

Keys that a configuration leaves out have the defaults of diffusers' and transformers' classes.
"""

from __future__ import annotations

from marblecli.models.configurations import Architecture, Config
from marblecli.models.limits import Limits
from marblecli.models.sd3.options import SD3Options

_CLIP_TOKENS = 77
_DEFAULT_CHANNELS = 16
_DEFAULT_POSITIONS = 96


def downsampling(vae: Config) -> int:
    """How many pixels of a side are one place of the latents: every block but one halves it."""
    return int(2 ** (len(vae.get("block_out_channels", [64])) - 1))


def latent_shape(transformer: Config, vae: Config, height: int, width: int) -> tuple[int, int, int]:
    """[C, h, w] of the latents of an image of that many pixels."""
    factor = downsampling(vae)
    channels = int(transformer.get("in_channels", _DEFAULT_CHANNELS))
    return (channels, height // factor, width // factor)


def sd3_limits(architecture: Architecture, options: SD3Options) -> Limits:
    """Whole patches, as many of a side as the table of positional embeddings has places."""
    transformer, vae = architecture.parts["transformer"], architecture.parts["vae"]
    step = downsampling(vae) * int(transformer.get("patch_size", 2))
    places = int(transformer.get("pos_embed_max_size", _DEFAULT_POSITIONS))
    return Limits(
        side_step=step,
        largest_side=places * step,
        tokens=encoder_tokens(architecture, options),
    )


def encoder_tokens(architecture: Architecture, options: SD3Options) -> dict[str, int]:
    """By text encoder that is used, the tokens of a prompt that it reads."""
    parts = architecture.parts
    tokens = {
        part: int(parts[part].get("max_position_embeddings", _CLIP_TOKENS))
        for part in ("text_encoder", "text_encoder_2")
        if part in parts
    }
    if "text_encoder_3" in parts and options.t5 != "none":
        tokens["text_encoder_3"] = options.max_sequence_length
    return tokens


def conditioning_shapes(
    architecture: Architecture, options: SD3Options
) -> dict[str, tuple[int, ...]]:
    """Of one prompt: the tokens of CLIP and T5 one after the other, and CLIP's pooled vectors.

    Both CLIP encoders' tokens stand side by side in one token; zeros stand for an absent T5's.
    """
    transformer = architecture.parts["transformer"]
    clip = encoder_tokens(architecture, options).get("text_encoder", _CLIP_TOKENS)
    return {
        "context": (
            clip + options.max_sequence_length,
            int(transformer.get("joint_attention_dim", 4096)),
        ),
        "pooled": (int(transformer.get("pooled_projection_dim", 2048)),),
    }
