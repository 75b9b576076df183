from __future__ import annotations

import time

import pytest

from marblecli.train.phases import Phases


def test_seconds_add_up_by_phase_until_they_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 5.0, 7.0, 10.0, 10.5])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    phases = Phases()
    for name in ("sampling", "update", "sampling"):
        with phases.phase(name):
            pass
    assert phases.take() == {"sampling": 1.5, "update": 2.0}
    assert phases.take() == {}


def test_a_phase_that_fails_counts_too() -> None:
    phases = Phases()
    with pytest.raises(ValueError, match="fault"), phases.phase("sampling"):
        raise ValueError("fault")
    assert list(phases.take()) == ["sampling"]
