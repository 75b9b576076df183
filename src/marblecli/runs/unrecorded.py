"""A recorder that records nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from marblecli.conflicts.record import ConflictRecord
from marblecli.pictures.legend import Picture
from marblecli.types import EvaluationRecord, Json, Snapshot

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

    def samples(self, record: EvaluationRecord, images: Mapping[str, Tensor]) -> None:
        """Draw nothing."""

    def pictures(self, drawn: Sequence[Picture]) -> None:
        """Do nothing; trackers may send the pictures that the run directory has got."""

    def checkpoint(self, snapshot: Snapshot) -> None:
        """Do nothing."""
