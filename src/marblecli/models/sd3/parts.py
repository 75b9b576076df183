"""Each part of a Stable Diffusion 3 from its configuration."""

from __future__ import annotations

from collections.abc import Callable

from diffusers import AutoencoderKL, SD3Transformer2DModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from marblecli.models.configurations import Config


def build_part(part: str, config: Config) -> nn.Module:
    """With the weights that the part's class gives it, or none on the meta device."""
    return _BUILD[part](config)


def _transformer(config: Config) -> nn.Module:
    return SD3Transformer2DModel.from_config(dict(config))


def _vae(config: Config) -> nn.Module:
    return AutoencoderKL.from_config(dict(config))


def _clip(config: Config) -> nn.Module:
    return CLIPTextModelWithProjection(CLIPTextConfig.from_dict(dict(config)))


def _t5(config: Config) -> nn.Module:
    return T5EncoderModel(T5Config.from_dict(dict(config)))


_BUILD: dict[str, Callable[[Config], nn.Module]] = {
    "transformer": _transformer,
    "vae": _vae,
    "text_encoder": _clip,
    "text_encoder_2": _clip,
    "text_encoder_3": _t5,
}
DRAWN = tuple(_BUILD)
"""The parts with weights, in an order that fixes each one's random numbers."""
