"""Where the training loop reports what it did: the recorder, and what the screen is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from marblecli.conflicts.record import ConflictRecord
from marblecli.types import EvaluationRecord, Json, RewardChange, Snapshot

if TYPE_CHECKING:
    from torch import Tensor


class Recorder(Protocol):
    """What the training loop reports; the run directory implements it."""

    def step(self, metrics: Mapping[str, Json]) -> None:
        """Append one optimizer step to ``metrics.jsonl``."""

    def conflict(self, record: ConflictRecord) -> None:
        """Append one measured batch to ``conflicts.jsonl``."""

    def evaluation(self, record: EvaluationRecord) -> None:
        """Append one evaluation to ``evaluations.jsonl``."""

    def changes(self, step: int, changes: Mapping[str, tuple[RewardChange, ...]]) -> None:
        """Report every reward's change since the base model, by split, after an evaluation."""

    def samples(self, record: EvaluationRecord, images: Mapping[str, Tensor]) -> object:
        """Draw pictures of an evaluation's images, float32 [B, 3, H, W] in [0, 1] by split.

        The images are in the order of the record's. It is called after ``evaluation``.
        """

    def checkpoint(self, snapshot: Snapshot) -> None:
        """Save the snapshot so that it is complete or absent."""


@dataclass(frozen=True)
class StepReport:
    """One optimizer step, for the screen."""

    step: int
    seconds: float
    rewards: Mapping[str, float]
    """Each reward's mean over the step's images; rewards that applied to no image are left out."""
    cosines: Mapping[str, float]
    """Each reward's cosine with the stepped direction; empty if the batch wasn't measured."""
    faults: tuple[str, ...]
    notices: tuple[str, ...] = ()
    """One line for each change that was needed to go on, such as a smaller micro-batch."""
    constant_groups: int = 0
    """Prompts whose images were left out, because no reward varies on them."""


@dataclass(frozen=True)
class EvaluationReport:
    """One evaluation, for the screen."""

    step: int
    changes: Mapping[str, tuple[RewardChange, ...]]
    """By split, every reward's change since the base model; empty for the base model itself."""
    faults: tuple[str, ...]
    seconds: float
    """How long it took."""


@dataclass(frozen=True)
class Outcome:
    """The result of a finished run."""

    changes: Mapping[str, tuple[RewardChange, ...]]
    """By split, every reward's change since the base model."""


@dataclass(frozen=True)
class Callbacks:
    """Where the loop reports, and how to stop it."""

    recorder: Recorder
    on_step: Callable[[StepReport], None]
    on_evaluation: Callable[[EvaluationReport], None]
    should_stop: Callable[[], bool]
