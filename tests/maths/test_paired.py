from __future__ import annotations

import numpy as np
import pytest

from marblecli.maths.paired import Resample, ScoredSplit, no_basis, paired_changes
from marblecli.types import RewardChange, RewardFault, ScoredImage


def split(rows: list[tuple[int, int, float | None]], faults: tuple[str, ...] = ()) -> ScoredSplit:
    """Images of (place, number, score); prompts at odd places are of another source."""
    images = [
        ScoredImage(f"prompt {place}", "odd" if place % 2 else "even", place, number, {"ocr": v})
        for place, number, v in rows
    ]
    return ScoredSplit(images, [RewardFault("ocr", message, 1) for message in faults])


def compare(
    before: ScoredSplit, after: ScoredSplit, resample: Resample = "clusters"
) -> tuple[RewardChange, ...]:
    return paired_changes(before, after, resample, np.random.default_rng)


def test_images_are_paired_by_place_and_number_whatever_their_order() -> None:
    before = split([(1, 0, 3.0), (0, 0, 1.0), (0, 1, 2.0)])
    after = split([(0, 1, 2.5), (0, 0, 0.25), (1, 0, 3.0), (2, 0, 9.0)])
    (change,) = compare(before, after)
    assert (change.start, change.images) == (2.0, 3)
    assert change.end - change.start == pytest.approx(-0.25 / 3)
    # One better, one worse, one equal.
    assert change.win_rate == 0.5
    assert change.low <= 0.0 <= change.high


@pytest.mark.parametrize(
    ("clusters", "resample", "reason"),
    [
        ([0], "clusters", "one image"),
        ([0], "within", "one image"),
        ([3, 3, 3], "clusters", "one prompt"),
        ([3, 3, 3], "within", ""),
        ([0, 1, 2], "within", "one image a prompt"),
        ([0, 1, 2], "clusters", ""),
        ([0, 0, 1], "within", ""),
    ],
)
def test_there_is_no_interval_without_a_basis(
    clusters: list[int], resample: Resample, reason: str
) -> None:
    assert no_basis(np.array(clusters), resample) == reason


def test_a_change_without_a_basis_says_why_and_keeps_its_mean() -> None:
    (change,) = compare(split([(0, 0, 1.0), (0, 1, 2.0)]), split([(0, 0, 2.0), (0, 1, 4.0)]))
    assert (change.start, change.end) == (1.5, 3.0)
    assert change.no_interval == change.no_end_interval == "one prompt"
    assert np.isnan([change.low, change.high, change.end_low, change.end_high]).all()


def test_the_same_weights_have_no_spread_though_rounding_parts_their_draws() -> None:
    values = [0.1, 0.2, 0.3, 0.7, 0.9]
    before = split([(place, 0, value) for place, value in enumerate(values)])
    after = split([(place, 0, value + 0.1) for place, value in enumerate(values)])
    (change,) = compare(before, after)
    assert (change.no_interval, change.no_end_interval) == ("no spread", "")
    assert change.end_low < change.end < change.end_high


def test_a_reward_that_failed_everywhere_says_so_and_one_that_never_applies_is_left_out() -> None:
    nothing = split([(0, 0, None), (1, 0, None)])
    assert compare(nothing, nothing) == ()
    (failed,) = compare(nothing, split([(0, 0, None), (1, 0, None)], ("no driver",)))
    assert (failed.failure, failed.images) == ("no driver", 0)


def test_a_source_can_be_taken_alone() -> None:
    both = split([(0, 0, 1.0), (1, 0, 3.0), (2, 0, 2.0)])
    assert both.sources == ("even", "odd")
    assert [image.place for image in both.only("even").images] == [0, 2]
