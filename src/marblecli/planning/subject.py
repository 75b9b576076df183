"""The model that a plan is about, known by its configurations alone.

Parts are built on the meta device or on fake tensors; no weight is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from marblecli.models.conditioning import Conditioning
from marblecli.models.configurations import Architecture
from marblecli.models.family import Family, FrozenParts, LoadRequest
from marblecli.settings import ModelSettings


@dataclass(frozen=True)
class Subject:
    """A model of which only the family and the configurations are known."""

    family: Family
    architecture: Architecture

    def network(self) -> nn.Module:
        """A new copy of the network that trains, in float32 on the meta device."""
        return self._build("transformer")

    @cached_property
    def vae(self) -> nn.Module:
        """In float32 on the meta device."""
        return self._build("vae")

    def encoders(self, model: ModelSettings) -> dict[str, nn.Module]:
        """The text encoders that a run uses, by part, in float32 on the meta device."""
        used = self.family.encoders(self.architecture, model)
        return {part: self._encoders[part] for part in used}

    @cached_property
    def _encoders(self) -> dict[str, nn.Module]:
        known = self.architecture.parts
        return {part: self._build(part) for part in self.family.spec.encoders if part in known}

    def _build(self, part: str) -> nn.Module:
        with torch.device("meta"):
            return self.family.build(part, self.architecture.parts[part])

    def in_8_bits(self, model: ModelSettings) -> frozenset[str]:
        """The text encoders whose linear layers are kept in 8 bits, by part."""
        return self.family.in_8_bits(model)

    def frozen(self, mode: FakeTensorMode, model: ModelSettings, *, encoders: bool) -> FrozenParts:
        """What encodes prompts and decodes images, on fake tensors of ``mode``."""
        with mode:
            request = LoadRequest(model, self.architecture, encoders=encoders, empty=True)
            return self.family.load(request).frozen

    def describe(self) -> str:
        """The network's sizes in a few words."""
        return self.family.describe(self.architecture)

    def latent_shape(self, side: int) -> tuple[int, int, int]:
        """[C, h, w] of the latents of an image of ``side`` x ``side`` pixels."""
        return self.family.latent_shape(self.architecture, side, side)

    def conditioning_shapes(self, model: ModelSettings) -> dict[str, tuple[int, ...]]:
        """By name, the shape of each tensor that tells the network of one prompt."""
        return self.family.conditioning_shapes(self.architecture, model)

    def conditioning(self, model: ModelSettings, rows: int, dtype: torch.dtype) -> Conditioning:
        """That of some rows, in tensors of zeros that are made here."""
        shapes = self.conditioning_shapes(model)
        return Conditioning(
            {name: torch.zeros(rows, *shape, dtype=dtype) for name, shape in shapes.items()}
        )
