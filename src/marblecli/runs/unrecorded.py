"""A recorder that records nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from marblecli.conflicts.record import ConflictRecord
from marblecli.types import EvaluationRecord, Json, Prompt, RewardChange, Snapshot

if TYPE_CHECKING:
    from torch import Tensor


class Unrecorded:
    """The recorder of benchmarks, and of every process but the first, which writes for all.

    Recorders that are interested in some events only derive from it.
    """

    def step(self, metrics: Mapping[str, Json]) -> None:
        """Do nothing."""

    def conflict(self, record: ConflictRecord) -> None:
        """Do nothing."""

    def evaluation(self, record: EvaluationRecord) -> None:
        """Do nothing."""

    def changes(self, step: int, changes: Mapping[str, tuple[RewardChange, ...]]) -> None:
        """Do nothing."""

    def samples(self, step: int, split: str, prompts: Sequence[Prompt], images: Tensor) -> None:
        """Do nothing."""

    def checkpoint(self, snapshot: Snapshot) -> None:
        """Do nothing."""
