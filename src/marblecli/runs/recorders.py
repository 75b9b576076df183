"""Several recorders as one: the run directory, and the trackers that the recipe names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from marblecli.conflicts.record import ConflictRecord
from marblecli.runs.recorder import RunRecorder
from marblecli.runs.tracking import TensorBoardRecorder
from marblecli.runs.unrecorded import Unrecorded
from marblecli.types import EvaluationRecord, Json, Snapshot

if TYPE_CHECKING:
    from torch import Tensor


class Recorders:
    """Passes everything on to a recorder and, after it, to each of the trackers.

    Close it when the run ends, however it ends: ``contextlib.closing`` does.
    """

    def __init__(
        self, recorder: RunRecorder | Unrecorded, trackers: Sequence[TensorBoardRecorder] = ()
    ) -> None:
        self._recorder = recorder
        self._trackers = tuple(trackers)
        self._all = (recorder, *self._trackers)

    def step(self, metrics: Mapping[str, Json]) -> None:
        """Report one optimizer step."""
        for each in self._all:
            each.step(metrics)

    def conflict(self, record: ConflictRecord) -> None:
        """Report one measured batch."""
        for each in self._all:
            each.conflict(record)

    def evaluation(self, record: EvaluationRecord) -> None:
        """Report one evaluation."""
        for each in self._all:
            each.evaluation(record)

    def samples(self, record: EvaluationRecord, images: Mapping[str, Tensor]) -> None:
        """Report images, float32 [B, 3, H, W] in [0, 1] by split; the trackers get the pictures."""
        drawn = self._recorder.samples(record, images)
        for each in self._trackers:
            each.pictures(drawn or ())

    def checkpoint(self, snapshot: Snapshot) -> None:
        """Report a state to go on from."""
        for each in self._all:
            each.checkpoint(snapshot)

    def close(self) -> None:
        """Close the trackers, the last one first."""
        for each in reversed(self._trackers):
            each.close()
