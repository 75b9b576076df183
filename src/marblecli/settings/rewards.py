"""``[prompts.SOURCE]`` and ``[rewards.NAME]``: what is drawn, and what judges it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, NonNegativeFloat, PositiveInt, field_validator, model_validator

from marblecli.settings.table import Table, gathered

_DEVICE = re.compile(r"cpu|mps|cuda(:\d+)?|offload")


class PromptSettings(Table):
    """``[prompts.SOURCE]``: .txt (a prompt on each line) or .jsonl (``prompt`` and metadata)."""

    train: Path
    """The training prompts, relative to the recipe."""
    eval: Path | None = None
    """The held-out prompts, relative to the recipe; none if absent."""


class EvalRewardSettings(Table):
    """``[eval.rewards.NAME]``: a reward that evaluations show and that is never trained."""

    sources: tuple[str, ...] | None = None
    """Prompt sources that the reward is limited to; if absent, all whose prompts it applies to."""
    batch_size: PositiveInt | None = None
    """Images scored in one call; if absent, all that were sampled together."""
    device: str | None = None
    """Where the reward scores: ``cpu``, ``cuda``, ``cuda:N``, ``mps`` or ``offload``, which keeps
    its weights on the CPU while it isn't scoring. If absent, where the model is trained."""
    timeout: Annotated[float, Field(gt=0.0, le=86400.0)] = 600.0
    """Seconds that one call may take; a call that takes longer is a fault."""
    scale: float = 1.0
    """The scores are multiplied by this, in training and in evaluations. A scale below 0 turns the
    reward round: what it disliked is rewarded."""
    options: Mapping[str, Any] = {}
    """Every other key is the reward's own: see docs/rewards.md, and the README of its package."""

    @model_validator(mode="before")
    @classmethod
    def _gather_options(cls, table: Any) -> Any:
        return gathered(table, cls)

    @field_validator("device", mode="after")
    @classmethod
    def _known_device(cls, device: str | None) -> str | None:
        if device is not None and not _DEVICE.fullmatch(device):
            raise ValueError(f"must be cpu, cuda, cuda:N, mps or offload, got {device!r}")
        return device


class RewardSettings(EvalRewardSettings):
    """``[rewards.NAME]``: a reward of this name, or ``NAME_LABEL`` to use one several times."""

    weight: NonNegativeFloat = 1.0
    """The weight of this reward in the method ``weighted-sum``."""


OWN_REWARD_KEYS = frozenset(RewardSettings.model_fields.keys() - {"options"})
"""Keys of ``[rewards.NAME]`` that no plugin may use."""
