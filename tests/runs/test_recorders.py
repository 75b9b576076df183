from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
import torch

from marblecli.conflicts.record import ConflictRecord
from marblecli.runs.recorders import Recorders
from marblecli.train.recorder import Recorder
from marblecli.types import EvaluationRecord, Snapshot

CONFLICT = ConflictRecord(1, ("a",), (4,), (1.0,), ((1.0,),), (1.0,), (1.0,), {})
EVENTS: list[tuple[str, tuple[Any, ...]]] = [
    ("step", ({"step": 1},)),
    ("conflict", (CONFLICT,)),
    ("evaluation", (EvaluationRecord(1, "trained", {}),)),
    ("checkpoint", (Snapshot(1, {}, {}),)),
]


class Told:
    """Notes in ``log`` whatever it is told, under its own name."""

    def __init__(self, name: str, log: list[tuple[Any, ...]]) -> None:
        self._name, self._log = name, log

    def __getattr__(self, event: str) -> Any:
        return lambda *arguments: self._log.append((self._name, event, *arguments))


@pytest.fixture
def log() -> list[tuple[Any, ...]]:
    return []


@pytest.fixture
def recorders(log: list[tuple[Any, ...]]) -> Recorders:
    return Recorders(Told("run", log), [Told("one", log), Told("two", log)])


def test_the_run_gets_the_images_and_the_trackers_its_pictures(
    recorders: Recorders, log: list[tuple[Any, ...]]
) -> None:
    record, images = EvaluationRecord(1, "trained", {}), {"train": torch.rand(1, 3, 8, 8)}
    recorders.samples(record, images)
    assert log[0] == ("run", "samples", record, images)
    assert [entry[:2] for entry in log[1:]] == [("one", "pictures"), ("two", "pictures")]


def test_every_event_is_tried() -> None:
    assert {name for name, _ in EVENTS} | {"samples"} == {
        n for n in vars(Recorder) if not n.startswith("_")
    }


@pytest.mark.parametrize(("event", "arguments"), EVENTS)
def test_all_are_told_the_run_first(
    event: str, arguments: tuple[Any, ...], recorders: Recorders, log: list[tuple[Any, ...]]
) -> None:
    getattr(recorders, event)(*arguments)
    assert log == [(name, event, *arguments) for name in ("run", "one", "two")]


def test_only_trackers_are_closed_also_when_the_run_fails(
    recorders: Recorders, log: list[tuple[Any, ...]]
) -> None:
    with pytest.raises(RuntimeError), closing(recorders):
        raise RuntimeError
    assert log == [("two", "close"), ("one", "close")]
