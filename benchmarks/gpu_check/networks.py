"""The network of the sizes with random weights, and the rows that an update of it is made of."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import torch
from diffusers import SD3Transformer2DModel

from gpu_check.sizes import Sizes
from marblecli.models.architectures import Architecture, find_architecture
from marblecli.models.random import drawn_part
from marblecli.models.sd3.family import SD3
from marblecli.seeding import torch_stream
from marblecli.settings import ModelSettings
from small_models import model_folder
from update_variants import Shape


def random_transformer(sizes: Sizes) -> SD3Transformer2DModel:
    """On the CPU, in float32; the same bits every time."""
    config = _architecture(sizes).parts["transformer"]
    build = partial(SD3.build, "transformer", config)
    return drawn_part(build, torch.float32, torch_stream(0, "gpu check"))


def update_shape(sizes: Sizes, rows: tuple[int, int, int], *, bf16: bool) -> Shape:
    """The shape of an update of ``rows``: images, noise levels and micro-batch size."""
    architecture, model = _architecture(sizes), ModelSettings(pretrained=sizes.model)
    side = SD3.latent_shape(architecture, sizes.resolution, sizes.resolution)[1]
    context = SD3.conditioning_shapes(architecture, model)["context"]
    images, levels, micro_batch = rows
    return Shape(
        layers=0,
        width=0,
        rank=sizes.rank,
        side=side,
        text_tokens=context[0],
        images=images,
        noise_levels=levels,
        micro_batch_size=micro_batch,
        bf16=bf16,
    )


def _architecture(sizes: Sizes) -> Architecture:
    with tempfile.TemporaryDirectory() as scratch:
        pretrained = model_folder(sizes.model, Path(scratch))
        return find_architecture(ModelSettings(pretrained=pretrained))
