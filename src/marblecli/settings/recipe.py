"""The whole recipe, and the tables that say when a run is evaluated, saved and tracked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

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
    show_pictures: bool = False
    """Show the pictures of the last evaluation in the terminal when the run ends. The terminal must
    know kitty's protocol or sixel, or shows them coarsely; ``pip install 'marblecli[show]'``."""
    rewards: Mapping[str, EvalRewardSettings] = {}


class CheckpointSettings(Table):
    """``[checkpoint]``: when the run is saved. The last step is always saved."""

    every: NonNegativeInt = 50
    """Steps between checkpoints; 0 saves only at the end, or when interrupted."""
    keep_last: PositiveInt = 3
    """Checkpoints kept; older ones are deleted."""


TrackerName = Literal[
    "aim",
    "clearml",
    "comet_ml",
    "dvclive",
    "mlflow",
    "swanlab",
    "tensorboard",
    "trackio",
    "wandb",
]
"""Accelerate's trackers."""
TrackerOptions = Mapping[str, Any] | None


class TrackingSettings(Table):
    """``[tracking]``: trackers that the metrics are also sent to."""

    log_with: tuple[TrackerName, ...] = ()
    """The trackers, by name. Each is a package that has to be installed."""
    aim: TrackerOptions = None
    """Options of ``aim.Run``."""
    clearml: TrackerOptions = None
    """Options of ``clearml.Task.init``."""
    comet_ml: TrackerOptions = None
    """Options of ``comet_ml.start``, such as ``online = false``."""
    dvclive: TrackerOptions = None
    """Options of ``dvclive.Live``. It writes to ``dvclive`` in the run directory."""
    mlflow: TrackerOptions = None
    """Options of accelerate's ``MLflowTracker``, such as ``tags``."""
    swanlab: TrackerOptions = None
    """Options of ``swanlab.init``. It writes to ``swanlog`` in the run directory."""
    tensorboard: TrackerOptions = None
    """Options of ``SummaryWriter``. It writes to a folder of the run directory named ``run.name``.
    """
    trackio: TrackerOptions = None
    """Options of ``trackio.init``."""
    wandb: TrackerOptions = None
    """Options of ``wandb.init``, such as ``mode = "offline"``. The project is ``run.name``, and the
    run is named as its directory, where its files are, too."""

    def options(self, name: str) -> Mapping[str, Any]:
        """The options of one tracker."""
        found: TrackerOptions = getattr(self, name)
        return found or {}


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
    def trained_share(self) -> float:
        """The share of a step's rows that ``[training.rows]`` trains, if all groups vary."""
        rows = self.training.rows
        images = rows.extremes / self.sampling.group_size if rows.extremes else 1.0
        return images * (rows.share if rows.draw == "by-size" else 1.0)

    @property
    def all_rewards(self) -> dict[str, EvalRewardSettings]:
        """The rewards that are trained, and after them those that are only evaluated."""
        return {**self.rewards, **self.eval.rewards}
