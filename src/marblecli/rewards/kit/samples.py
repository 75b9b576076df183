"""Images and prompts to try a reward on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from marblecli.types import Prompt

PLAIN_PROMPTS = (
    Prompt("a red square left of a blue circle", "kit"),
    Prompt('a shop sign that says "OPEN"', "kit"),
    Prompt("two dogs in the rain, photographed from above", "kit"),
    Prompt("Ein Café in der Früh, ölgemalt", "kit"),
    Prompt("fog", "kit"),
)
"""For rewards that declare no examples: short, long, quoted, and not only ASCII."""


@dataclass(frozen=True)
class Samples:
    """B images, each with its prompt."""

    images: Tensor
    """Float32 [B, 3, H, W] in [0, 1], rounded to 8 bits, so that all layouts are the same image."""
    prompts: tuple[Prompt, ...]

    def __post_init__(self) -> None:
        if len(self.images) != len(self.prompts):
            raise ValueError(f"{len(self.images)} images but {len(self.prompts)} prompts")


def make_samples(
    prompts: Sequence[Prompt] = PLAIN_PROMPTS,
    count: int = 8,
    height: int = 64,
    width: int = 64,
    seed: int = 0,
) -> Samples:
    """Draw ``count`` images, random, flat and graded ones in turn; the prompts are repeated."""
    generator = torch.Generator().manual_seed(seed)
    makers = (_random, _flat, _graded, _black, _white)
    images = [makers[n % len(makers)](height, width, generator) for n in range(count)]
    stacked = torch.stack(images) if images else torch.zeros(0, 3, height, width)
    stacked = stacked.mul(255).round().div(255)
    return Samples(stacked, tuple(prompts[n % len(prompts)] for n in range(count)))


def _random(height: int, width: int, generator: torch.Generator) -> Tensor:
    return torch.rand(3, height, width, generator=generator)


def _flat(height: int, width: int, generator: torch.Generator) -> Tensor:
    return torch.rand(3, 1, 1, generator=generator).expand(3, height, width)


def _graded(height: int, width: int, generator: torch.Generator) -> Tensor:
    """A gradient from one colour in the upper left corner to another one in the lower right."""
    ramp = torch.linspace(0, 1, height)[:, None] + torch.linspace(0, 1, width)
    first, last = torch.rand(2, 3, 1, 1, generator=generator)
    return torch.lerp(first, last, ramp / 2)


def _black(height: int, width: int, _generator: torch.Generator) -> Tensor:
    return torch.zeros(3, height, width)


def _white(height: int, width: int, _generator: torch.Generator) -> Tensor:
    return torch.ones(3, height, width)
