"""A Stable Diffusion 3 from its configurations alone: no weight file, no hub."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, StableDiffusion3Pipeline
from torch import nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase, T5EncoderModel

from marblecli.models.configurations import Architecture
from marblecli.models.hashed_words import HashedWords, clip_words, t5_words
from marblecli.models.random import drawn_part, unset_part
from marblecli.models.sd3.parts import DRAWN, build_part
from marblecli.seeding import torch_stream

_ENCODED_BY = {
    "tokenizer": "text_encoder",
    "tokenizer_2": "text_encoder_2",
    "tokenizer_3": "text_encoder_3",
}


def random_pipeline(
    architecture: Architecture, dtype: torch.dtype, seed: int | None, absent: Collection[str] = ()
) -> StableDiffusion3Pipeline:
    """The pipeline with weights drawn from ``seed``, in ``dtype``, on the CPU.

    Without a seed nothing is drawn, and there is no scheduler, which can't be made of fake tensors.

    Tokenizers are the folder's, if the model is a folder that has them, else words are hashed. Text
    encoders that are named in ``absent`` are left out with their tokenizers; the other parts' bits
    don't depend on that.
    """
    parts: dict[str, Any] = {}
    for index, name in enumerate(DRAWN):
        config = architecture.parts.get(name)
        parts[name] = None
        if config is not None and name not in absent:
            build = partial(build_part, name, config)
            if seed is None:
                parts[name] = unset_part(build, dtype)
            else:
                parts[name] = drawn_part(build, dtype, torch_stream(seed, "random weights", index))
    for name, encoder in _ENCODED_BY.items():
        needed = parts[encoder] is not None
        parts[name] = _tokenizer(architecture, name, parts[encoder]) if needed else None
    parts["scheduler"] = None if seed is None else _scheduler(architecture)
    return StableDiffusion3Pipeline(**parts)


def _scheduler(architecture: Architecture) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler.from_config(dict(architecture.parts["scheduler"]))


def _tokenizer(
    architecture: Architecture, name: str, encoder: nn.Module
) -> PreTrainedTokenizerBase | HashedWords:
    folder = Path(architecture.name) / name
    if folder.is_dir():
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if isinstance(encoder, T5EncoderModel):
        return t5_words(encoder.config)
    return clip_words(encoder.config)
