"""Prompts of random words, and rewards that are vision towers of any size: neither needs a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from marblecli.models.random import drawn_part
from marblecli.rewards.lane import ActiveReward
from marblecli.rewards.score import RewardSuite
from marblecli.rewards.spec import NoOptions, RewardBatch, RewardSpec, Scorer
from marblecli.seeding import torch_stream
from marblecli.types import Prompt

TOWERS = {
    "none": None,
    "tiny": (32, 1, 2),
    "small": (192, 4, 3),
    "vit-l": (1024, 24, 16),
    "vit-h": (1280, 32, 16),
    "vit-g": (1664, 48, 16),
}
"""Width, layers and heads of a reward's vision tower."""
_SIDE = 224


def random_prompts(count: int) -> tuple[Prompt, ...]:
    """``count`` prompts of twelve words."""
    rng = np.random.default_rng(0)
    words = [f"word{index}" for index in range(1000)]
    return tuple(Prompt(" ".join(rng.choice(words, 12)), "random") for _ in range(count))


def synthetic_suite(
    count: int, towers: Sequence[str], device: str, *, offload: bool = False
) -> RewardSuite:
    """``count`` rewards, which take their vision towers from ``towers`` in turn.

    With ``offload`` their weights are on ``device`` only while they score.
    """
    return RewardSuite(
        [
            _synthetic(index, towers[index % len(towers)], device, offload=offload)
            for index in range(count)
        ]
    )


def reward_name(index: int) -> str:
    """The name of the reward of that number."""
    return f"synthetic-{index}"


def tower_bytes(tower: str, device: str) -> int:
    """What the weights of a reward take on ``device``."""
    size = TOWERS[tower]
    if size is None:
        return 0
    with torch.device("meta"):
        parameters = CLIPVisionModel(_config(size)).parameters()
    return sum(parameter.numel() for parameter in parameters) * _dtype(device).itemsize


def _synthetic(index: int, tower: str, device: str, *, offload: bool) -> ActiveReward:
    size, low = TOWERS[tower], _dtype(device)

    def build(_options: BaseModel, device: str, /) -> Scorer:
        return _Pixels(index) if size is None else _Tower(size, index, device, low)

    spec = RewardSpec(name=reward_name(index), summary="", build=build, images="float")
    scorer = build(NoOptions(), "cpu" if offload else device)
    away = offload and size is not None and device != "cpu"
    return ActiveReward(spec, scorer, offload_from=device if away else None)


def _dtype(device: str) -> torch.dtype:
    return torch.bfloat16 if torch.device(device).type == "cuda" else torch.float32


class _Pixels:
    """The mean of one colour."""

    def __init__(self, index: int) -> None:
        self._channel = index % 3

    def __call__(self, batch: RewardBatch) -> Any:
        return batch.images[:, self._channel].flatten(1).mean(1).cpu().numpy()


class _Tower:
    """One feature of a vision tower with random weights."""

    def __init__(
        self, size: tuple[int, int, int], seed: int, device: str, dtype: torch.dtype
    ) -> None:
        def build() -> nn.Module:
            tower: nn.Module = CLIPVisionModel(_config(size))
            return tower

        self._tower: Any = drawn_part(build, dtype, torch_stream(seed, "tower")).to(device)

    def to(self, device: str, /) -> None:
        """Move the weights."""
        self._tower.to(device)

    @torch.no_grad()
    def __call__(self, batch: RewardBatch) -> Any:
        tower = self._tower
        images = torch.nn.functional.interpolate(batch.images, (_SIDE, _SIDE)).to(tower.device)
        features = tower(images.to(tower.dtype)).pooler_output
        return features.float()[:, 0].cpu().numpy()


def _config(size: tuple[int, int, int]) -> CLIPVisionConfig:
    width, layers, heads = size
    return CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        image_size=_SIDE,
        patch_size=14,
    )
