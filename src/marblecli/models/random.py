"""A pipeline from its configurations alone: no weight file, no hub, the same bits for a seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    T5Config,
    T5EncoderModel,
)

from marblecli.models.architectures import Architecture, Config
from marblecli.models.hashed_words import HashedWords, clip_words, t5_words
from marblecli.seeding import torch_stream

_POOL = 2**22 + 15
"""Normal numbers drawn for one part. All of its weights are cut from them: drawing five thousand
million takes minutes. Prime, so that no two rows of a matrix are alike."""


def random_pipeline(
    architecture: Architecture, dtype: torch.dtype, seed: int, absent: Collection[str] = ()
) -> StableDiffusion3Pipeline:
    """The pipeline with weights drawn from ``seed``, in ``dtype``, on the CPU.

    Matrices and kernels are normal with variance 1 / fan-in, norms one and biases zero, which keeps
    activations near unit size. No more memory is taken than the weights need. Tokenizers are the
    folder's, if the model is a folder that has them, else words are hashed. Text encoders that are
    named in ``absent`` are left out with their tokenizers.
    """
    parts: dict[str, Any] = {}
    for index, (name, build) in enumerate(_BUILD.items()):
        config = architecture.parts.get(name)
        parts[name] = None
        if config is not None and name not in absent:
            parts[name] = _filled(build, config, dtype, torch_stream(seed, "random weights", index))
    for name, encoder in _ENCODED_BY.items():
        needed = parts[encoder] is not None
        parts[name] = _tokenizer(architecture, name, parts[encoder]) if needed else None
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(dict(architecture.parts["scheduler"]))
    return StableDiffusion3Pipeline(**{**parts, "scheduler": scheduler})


def _filled(
    build: Callable[[Config], nn.Module],
    config: Config,
    dtype: torch.dtype,
    generator: torch.Generator,
) -> nn.Module:
    # Buffers hold what isn't drawn: they are made as ever.
    with init_empty_weights(include_buffers=False):
        part = build(config)
    if isinstance(part, PreTrainedModel):
        part.tie_weights()
    size = sum(parameter.numel() for parameter in part.parameters())
    pool = torch.randn(min(size, _POOL), generator=generator).to(dtype)
    drawn: dict[int, nn.Parameter] = {}
    place = 0
    for module in part.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if id(parameter) not in drawn:  # Tied weights stay tied.
                value = _draw(name, parameter, pool, place)
                drawn[id(parameter)] = nn.Parameter(value, requires_grad=False)
                place += value.numel()
            setattr(module, name, drawn[id(parameter)])
        for name, buffer in list(module.named_buffers(recurse=False)):
            if buffer.is_floating_point():
                setattr(module, name, buffer.to(dtype))
    return part.eval()


def _draw(name: str, like: Tensor, pool: Tensor, place: int) -> Tensor:
    if like.ndim < 2:
        constant = 0.0 if name.endswith("bias") else 1.0
        return torch.full(like.shape, constant, dtype=pool.dtype)
    value = torch.empty(like.shape, dtype=pool.dtype)
    flat, scale = value.view(-1), 1.0 / math.sqrt(like[0].numel())
    start = 0
    while start < len(flat):
        piece = pool[(place + start) % len(pool) :][: len(flat) - start]
        torch.mul(piece, scale, out=flat[start : start + len(piece)])
        start += len(piece)
    return value


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
_ENCODED_BY = {
    "tokenizer": "text_encoder",
    "tokenizer_2": "text_encoder_2",
    "tokenizer_3": "text_encoder_3",
}


def _tokenizer(
    architecture: Architecture, name: str, encoder: nn.Module
) -> PreTrainedTokenizerBase | HashedWords:
    folder = Path(architecture.name) / name
    if folder.is_dir():
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if isinstance(encoder, T5EncoderModel):
        return t5_words(encoder.config)
    return clip_words(encoder.config)
