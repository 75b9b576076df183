from __future__ import annotations

import pytest
import torch

from marblecli.planning.timeline import Timeline, growth

KIB = 1024


def kib(count: int = 1) -> torch.Tensor:
    return torch.zeros(KIB * count // 4)


def test_what_a_typical_block_leaves_counts_again_for_each_missing_one() -> None:
    with Timeline([5]) as timeline:
        before = kib()
        with timeline.typical(0):
            left = kib(2)
            output = kib(3)
            kib(4)
        # The next block of the kind: it needs the output, and the missing ones hold none.
        last = kib(2)
        timeline.settle()
        del output
        after = kib()
    moments = [moment // KIB for moment in timeline.moments]
    # Alone, then within the block: nothing of missing ones, which come after it.
    assert moments[:4] == [1, 3, 6, 10]
    # While the last block runs, five missing ones have left two each.
    assert moments[4] == 1 + 2 + 3 + 2 + 5 * 2
    assert moments[5] == 1 + 2 + 2 + 1 + 5 * 2
    assert [len(each) for each in (before, left, last, after)]


def test_what_a_typical_block_left_and_is_gone_counts_no_more() -> None:
    with Timeline([3]) as timeline:
        with timeline.typical(0):
            left = kib()
        timeline.settle()
        first = timeline.mark()
        del left
        second = timeline.mark()
    assert [timeline.moments[place] for place in (first, second)] == [4 * KIB, 0]


def test_any_number_of_rows_follows_from_two_runs() -> None:
    found = growth([[10, 100, 50], [12, 130, 50]], (2, 3))
    assert [found.at(moment, 5) for moment in range(3)] == [16, 190, 50]
    assert found.peak(1) == 70
    # Few rows have another moment with the most bytes than many.
    assert found.peak(0) == 50


def test_runs_that_dont_correspond_are_refused() -> None:
    with pytest.raises(ValueError, match="2 moments and one of 3"):
        growth([[1, 2], [1, 2, 3]], (2, 3))
