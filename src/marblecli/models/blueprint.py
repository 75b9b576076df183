"""The parts of a Stable Diffusion 3 from their configurations, for what runs without weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from marblecli.models.architectures import Config
from marblecli.models.backbone import Backbone
from marblecli.models.hashed_words import clip_words, t5_words
from marblecli.settings import ModelSettings

ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
"""The text encoders, by part."""


def build_part(part: str, config: Config) -> nn.Module:
    """One part with the weights that its class gives it, or none on the meta device."""
    table = dict(config)
    if part == "transformer":
        return SD3Transformer2DModel.from_config(table)
    if part == "vae":
        return AutoencoderKL.from_config(table)
    if part == "text_encoder_3":
        return T5EncoderModel(T5Config.from_dict(table))
    return CLIPTextModelWithProjection(CLIPTextConfig.from_dict(table))


def assemble(parts: Mapping[str, nn.Module], model: ModelSettings) -> Backbone:
    """What encodes prompts and decodes images; text encoders may be absent, and are never read.

    Words are hashed, so that no tokenizer's file is needed.
    """
    absent = dict.fromkeys((*ENCODERS, "tokenizer", "tokenizer_2", "tokenizer_3"))
    encoders = {name: part for name, part in parts.items() if name in ENCODERS}
    pipeline = StableDiffusion3Pipeline(
        **{**absent, **parts, **dict(_tokenizers(encoders))},
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )
    return Backbone(pipeline, model)


def _tokenizers(encoders: Mapping[str, nn.Module]) -> Iterator[tuple[str, Any]]:
    """They give as many tokens as the model's own."""
    for name, encoder in encoders.items():
        config: Any = encoder.config
        words = t5_words(config) if isinstance(encoder, T5EncoderModel) else clip_words(config)
        yield name.replace("text_encoder", "tokenizer"), words
