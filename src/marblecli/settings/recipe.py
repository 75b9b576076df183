"""The whole recipe, and the tables that say when a run is evaluated, saved and tracked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from marblecli.settings.balance import BalanceSettings, MeasureSettings
from marblecli.settings.model import ModelSettings
from marblecli.settings.rewards import EvalRewardSettings, PromptSettings, RewardSettings
from marblecli.settings.table import Table
from marblecli.settings.training import SamplingSettings, TrainingSettings


class RunSettings(Table):
    """``[run]``: the run's name and seed."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "run"
    """The run directory is named ``runs/NAME-TIMESTAMP`` unless ``--run-dir`` says otherwise."""
    seed: NonNegativeInt = 0
    """Seeds everything that is drawn at random: prompts, noise and the first adapters."""


class EvalSettings(Table):
    """``[eval]``: evaluations of the trained weights' moving average."""

    every: NonNegativeInt = 50
    """Steps between evaluations; 0 evaluates only at the start and the end."""
    steps: Annotated[int, Field(ge=2)] = 40
    """Evaluations of the network by the ODE solver for each image."""
    train_prompts: NonNegativeInt = 8
    """Training prompts evaluated, spread evenly over the sources' files; 0 for none."""
    held_out_prompts: NonNegativeInt = 24
    """Held-out prompts evaluated, spread evenly over the sources' files; 0 for none."""
    images_per_prompt: Annotated[int, Field(ge=1)] = 2
    """Images of each held-out prompt."""
    images_per_train_prompt: Annotated[int, Field(ge=2)] = 4
    """Images of each training prompt."""
    rewards: Mapping[str, EvalRewardSettings] = {}


class CheckpointSettings(Table):
    """``[checkpoint]``: when the run is saved. The last step is always saved."""

    every: NonNegativeInt = 50
    """Steps between checkpoints; 0 saves only at the end, or when interrupted."""
    keep_last: PositiveInt = 3
    """Checkpoints kept; older ones are deleted."""


class TrackingSettings(Table):
    """``[tracking]``: trackers that the metrics are also sent to."""

    log_with: tuple[Literal["tensorboard"], ...] = ()
    """The trackers, by name."""


class Recipe(Table):
    """A whole recipe."""

    run: RunSettings = RunSettings()
    model: ModelSettings
    prompts: Annotated[Mapping[str, PromptSettings], Field(min_length=1)]
    rewards: Annotated[Mapping[str, RewardSettings], Field(min_length=1)]
    sampling: SamplingSettings = SamplingSettings()
    training: TrainingSettings
    balance: BalanceSettings = BalanceSettings()
    measure: MeasureSettings = MeasureSettings()
    eval: EvalSettings = EvalSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    tracking: TrackingSettings = TrackingSettings()

    @field_validator("rewards", mode="after")
    @classmethod
    def _some_weight(cls, rewards: Mapping[str, RewardSettings]) -> Mapping[str, RewardSettings]:
        if not any(reward.weight for reward in rewards.values()):
            raise ValueError("at least one reward needs a weight above 0")
        return rewards

    @property
    def all_rewards(self) -> dict[str, EvalRewardSettings]:
        """The rewards that are trained, and after them those that are only evaluated."""
        return {**self.rewards, **self.eval.rewards}
