"""Several recorders as one: the run directory, and the trackers that the recipe names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from marblecli.types import (
    ConflictRecord,
    EvaluationRecord,
    Json,
    Prompt,
    Recorder,
    Snapshot,
)

if TYPE_CHECKING:
    from torch import Tensor


class Tracker(Recorder, Protocol):
    """A recorder that has to be closed at the end."""

    def close(self) -> None:
        """Write what is left."""


class Recorders:
    """Passes everything on to a recorder and, after it, to each of the trackers.

    Close it when the run ends, however it ends: ``contextlib.closing`` does.
    """

    def __init__(self, recorder: Recorder, trackers: Sequence[Tracker] = ()) -> None:
        self._trackers = tuple(trackers)
        self._all: tuple[Recorder, ...] = (recorder, *self._trackers)

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

    def samples(self, step: int, split: str, prompts: Sequence[Prompt], images: Tensor) -> None:
        """Report images, float32 [B, 3, H, W] in [0, 1], one for each prompt."""
        for each in self._all:
            each.samples(step, split, prompts, images)

    def checkpoint(self, snapshot: Snapshot) -> None:
        """Report a state to go on from."""
        for each in self._all:
            each.checkpoint(snapshot)

    def close(self) -> None:
        """Close the trackers, the last one first."""
        for each in reversed(self._trackers):
            each.close()
