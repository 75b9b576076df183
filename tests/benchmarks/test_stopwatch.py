from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from stopwatch import OTHER, Stopwatch


def test_each_moment_counts_for_the_innermost_stage() -> None:
    watch = Stopwatch()
    started = time.perf_counter()
    with watch.fresh() as split:
        time.sleep(0.02)
        with watch.stage("outer"):
            time.sleep(0.03)
            with watch.stage("inner"):
                time.sleep(0.05)
            assert watch.current == "outer"
    total = time.perf_counter() - started
    assert split["inner"] >= 0.05
    assert split["outer"] >= 0.03
    assert split[OTHER] >= 0.02
    assert sum(split.values()) == pytest.approx(total, abs=5e-3)


def test_a_stage_that_raises_is_closed() -> None:
    watch = Stopwatch()
    with pytest.raises(KeyError), watch.stage("outer"):
        raise KeyError
    assert watch.current == OTHER


def test_watched_functions_are_timed_and_restored() -> None:
    owner = SimpleNamespace(double=lambda x: 2 * x)
    plain = owner.double
    watch = Stopwatch()
    with watch.watching((owner, "double", "doubling")), watch.fresh() as split:
        assert owner.double(4) == 8
    assert "doubling" in split
    assert owner.double is plain


def test_each_stage_has_the_peak_of_its_own_time() -> None:
    class Peaks:
        def __init__(self) -> None:
            self.now = 0

        def take_peak(self) -> int:
            taken, self.now = self.now, 0
            return taken

    memory = Peaks()
    watch = Stopwatch(memory)  # type: ignore[arg-type] # of the same shape
    with watch.fresh(), watch.stage("outer"):
        memory.now = 5
        with watch.stage("inner"):
            memory.now = 9
        memory.now = 3
    assert watch.peaks["outer"] == 5
    assert watch.peaks["inner"] == 9
