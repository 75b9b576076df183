"""Where the training loop reports what it did; the run directory implements it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from marblecli.conflicts.record import ConflictRecord
from marblecli.types import EvaluationRecord, Json, Snapshot

if TYPE_CHECKING:
    from torch import Tensor


class Recorder(Protocol):
    """What the training loop reports."""

    def step(self, metrics: Mapping[str, Json]) -> None:
        """Append one optimizer step to ``metrics.jsonl``."""

    def conflict(self, record: ConflictRecord) -> None:
        """Append one measured batch to ``conflicts.jsonl``."""

    def evaluation(self, record: EvaluationRecord) -> None:
        """Append one evaluation to ``evaluations.jsonl``."""

    def samples(self, record: EvaluationRecord, images: Mapping[str, Tensor]) -> object:
        """Draw pictures of an evaluation's images, float32 [B, 3, H, W] in [0, 1] by split.

        The images are in the order of the record's. It is called after ``evaluation``.
        """

    def checkpoint(self, snapshot: Snapshot) -> None:
        """Save the snapshot so that it is complete or absent."""
