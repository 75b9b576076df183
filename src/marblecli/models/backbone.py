"""The frozen parts of an SD3 pipeline: prompts to embeddings, latents to images, the sampler."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusion3Pipeline
from torch import Tensor

from marblecli.engine.transfer import to_device
from marblecli.errors import BadInputError, MarbleError
from marblecli.models.architectures import Architecture
from marblecli.models.at_once import EMBEDDED_PROMPTS, TILE, images_decoded
from marblecli.models.random import random_pipeline
from marblecli.models.supported import examine_model
from marblecli.settings import ModelSettings
from marblecli.types import EmbeddingStore

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
_TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")


@dataclass(frozen=True)
class Conditioning:
    """What the transformer knows of the prompts of B images."""

    context: Tensor
    """[B, tokens, joint_attention_dim]."""
    pooled: Tensor
    """[B, pooled_projection_dim]."""

    def __getitem__(self, rows: Tensor | slice) -> Conditioning:
        return Conditioning(self.context[rows], self.pooled[rows])


class Backbone:
    """A loaded pipeline without its transformer's policies."""

    def __init__(
        self,
        pipeline: StableDiffusion3Pipeline,
        settings: ModelSettings,
        store: EmbeddingStore | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.max_sequence_length = settings.max_sequence_length
        self._store = store
        self._embeddings: dict[str, Conditioning] = {}
        self._tile: int | None = None
        if settings.vae_tiling:
            self._tile = TILE // pipeline.vae_scale_factor
            _cut_into_tiles(pipeline.vae, self._tile)

    @property
    def device(self) -> torch.device:
        """Where images are sampled and decoded."""
        return self.pipeline.vae.device

    def remember(self, embeddings: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take over what the store has, by text."""
        known = ((text, Conditioning(**tensors)) for text, tensors in embeddings.items())
        self._embeddings.update(known)

    def embed(self, texts: Iterable[str]) -> None:
        """Compute the embeddings of the texts that aren't cached, then move the encoders off."""
        missing = sorted(set(texts) - self._embeddings.keys())
        if not missing:
            return
        encoders = self._text_encoders()
        for encoder in encoders:
            encoder.to(self.device)
        for start in range(0, len(missing), EMBEDDED_PROMPTS):
            self._embed_batch(missing[start : start + EMBEDDED_PROMPTS])
        for encoder in encoders:
            encoder.to("cpu")

    def _text_encoders(self) -> list[torch.nn.Module]:
        pipeline = self.pipeline
        parts = (pipeline.text_encoder, pipeline.text_encoder_2, pipeline.text_encoder_3)
        return [part for part in parts if part is not None]

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Conditioning:
        """Of B texts, by the text encoders, which have to be on the pipeline's device."""
        context, _, pooled, _ = self.pipeline.encode_prompt(
            prompt=list(texts),
            prompt_2=None,
            prompt_3=None,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=self.max_sequence_length,
        )
        return Conditioning(context, pooled)

    def _embed_batch(self, texts: list[str]) -> None:
        encoded = self.encode(texts)
        for row, text in enumerate(texts):
            # On the CPU: at 128 T5 tokens a prompt takes 1.7 MB, and a run has thousands.
            found = Conditioning(
                encoded.context[row].to("cpu", copy=True), encoded.pooled[row].to("cpu", copy=True)
            )
            self._embeddings[text] = found
            if self._store is not None:
                self._store.write(text, {"context": found.context, "pooled": found.pooled})

    def conditioning(self, texts: Sequence[str]) -> Conditioning:
        """The cached embeddings of B texts; a text that was never embedded is a KeyError."""
        places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        found = [self._embeddings[text] for text in places]
        # A prompt of many images crosses once, and is repeated there.
        each = Conditioning(
            to_device(torch.stack([entry.context for entry in found]), self.device),
            to_device(torch.stack([entry.pooled for entry in found]), self.device),
        )
        return each[to_device(torch.tensor([places[text] for text in texts]), self.device)]

    def latent_shape(self, resolution: int) -> tuple[int, int, int]:
        """[C, h, w] of the latents of a square image."""
        side = resolution // self.pipeline.vae_scale_factor
        return (self.pipeline.transformer.config.in_channels, side, side)

    def sampler(self, steps: int) -> DPMSolverMultistepScheduler:
        """DPM-Solver++(2M) on the pipeline's own flow-matching grid, ready for one trajectory."""
        scheduler = DPMSolverMultistepScheduler(
            prediction_type="flow_prediction",
            use_flow_sigmas=True,
            flow_shift=self.pipeline.scheduler.config.shift,
            solver_order=2,
        )
        scheduler.set_timesteps(steps)
        return scheduler

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """[B, C, h, w] -> float32 images [B, 3, H, W] in [0, 1].

        A few images at a time; with ``model.vae_tiling``, images above 512 pixels a tile at a time,
        which differ a little from those decoded whole.
        """
        vae = self.pipeline.vae
        unscaled = (latents / vae.config.scaling_factor + vae.config.shift_factor).to(vae.dtype)
        at_once = images_decoded(unscaled[0, 0].numel(), self._tile)
        parts = [vae.decode(part, return_dict=False)[0] for part in unscaled.split(at_once)]
        return (torch.cat(parts).float() / 2 + 0.5).clamp(0.0, 1.0)


def load_pipeline(
    settings: ModelSettings, seed: int = 0, *, encoders: bool = True
) -> StableDiffusion3Pipeline:
    """Load every part in the recipe's dtype; nothing is moved to a device.

    With ``random_weights`` the parts are built from their configurations and filled from ``seed``.
    Without ``encoders`` there is nothing to embed texts with.

    Raises:
        BadInputError: the model is known not to be trainable, or has no configurations.
        MarbleError: its files can't be read or fetched.

    """
    architecture = examine_model(settings)
    dtype = DTYPES[settings.dtype]
    quantize = _quantize() if settings.t5 == "8bit" and encoders else None
    absent = {"text_encoder_3", "tokenizer_3"} if settings.t5 == "none" else set()
    absent |= set() if encoders else {*_ENCODERS, *_TOKENIZERS}
    if settings.random_weights and isinstance(architecture, Architecture):
        pipeline = random_pipeline(architecture, dtype, seed, absent)
    else:
        pipeline = _pretrained(settings, dtype, absent)
    if quantize is not None and pipeline.text_encoder_3 is not None:
        quantize(pipeline.text_encoder_3)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _cut_into_tiles(vae: AutoencoderKL, side: int) -> None:
    """Decode what is larger in tiles of ``side`` x ``side`` places of the latents."""
    vae.enable_tiling()
    # Its own are of the size that it was trained on, which is above what is sampled here.
    vae.tile_latent_min_size = side
    vae.tile_sample_min_size = TILE


def _quantize() -> Callable[[torch.nn.Module], None]:
    """A function that puts linear layers' weights into 8 bits; they compute in their old dtype."""
    try:
        from torchao.quantization import Int8WeightOnlyConfig, quantize_
    except ImportError as error:
        raise BadInputError('model.t5 = "8bit" needs torchao: pip install torchao') from error
    return lambda encoder: quantize_(encoder, Int8WeightOnlyConfig())


def _pretrained(
    settings: ModelSettings, dtype: torch.dtype, absent: Collection[str]
) -> StableDiffusion3Pipeline:
    left_out = dict.fromkeys(absent)
    try:
        return StableDiffusion3Pipeline.from_pretrained(
            settings.pretrained, revision=settings.revision, dtype=dtype, **left_out
        )
    except OSError as error:
        reason = " ".join(str(error).split())
        raise MarbleError(f"can't load the model {settings.pretrained}: {reason}") from error
