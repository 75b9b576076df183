"""A run that leaves nothing behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from marblecli.types import ConflictRecord, EvaluationRecord, Json, Prompt, Snapshot

if TYPE_CHECKING:
    from torch import Tensor


class Unrecorded:
    """The recorder of all processes but the first, which writes for all; and of benchmarks."""

    def step(self, metrics: Mapping[str, Json]) -> None:
        """Nothing."""

    def conflict(self, record: ConflictRecord) -> None:
        """Nothing."""

    def evaluation(self, record: EvaluationRecord) -> None:
        """Nothing."""

    def samples(self, step: int, split: str, prompts: Sequence[Prompt], images: Tensor) -> None:
        """Nothing."""

    def checkpoint(self, snapshot: Snapshot) -> None:
        """Nothing."""
