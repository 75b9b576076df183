from __future__ import annotations

import numpy as np
import pytest

from marblecli.conflicts.chance import (
    chance_levels,
    own_share_by_chance,
    share_by_chance,
    unrelated,
)
from marblecli.conflicts.judge import Direction, judge
from marblecli.settings import BalanceSettings
from support.records import record_of

METHODS = ("marble", "equal", "weighted-sum", "single")


def direction_of(method: str) -> Direction:
    reward = "a" if method == "single" else None
    return Direction(method, BalanceSettings.model_validate({"method": method, "reward": reward}))


def unrelated_batches(rewards: str, batches: int, size: int = 4000) -> list:
    """Batches whose gradients have nothing in common but what chance gives them."""
    rng = np.random.default_rng(0)
    count = len(rewards)
    lengths = 2.0 ** np.arange(count)[:, None]

    def drawn():
        return lengths * rng.normal(size=(count, size)) / np.sqrt(size)

    return [
        record_of(drawn(), drawn(), names=rewards, step=step, fresh=(drawn(), drawn(), 0 * drawn()))
        for step in range(1, batches + 1)
    ]


def test_levels_worked_by_hand() -> None:
    """One pair 1/2, five rewards 31/32, and the ten pairs of five rewards 1023/1024."""
    levels = [share_by_chance(signs) for signs in (0, 1, 2, 5, 10)]
    assert levels == [
        0.0,
        0.5,
        0.75,
        31 / 32,
        1023 / 1024,
    ]


@pytest.mark.parametrize(
    ("coefficients", "level"),
    [
        ([0.2, 1.0, 3.0], 0.0),
        ([1.0, 0.0, 0.0], 0.75),
        ([1.0, 0.0, -0.1], 1.0),
    ],
)
def test_own_gradients_conflict_only_where_they_were_left_out(coefficients, level: float) -> None:
    assert own_share_by_chance(np.array(coefficients)) == level


def test_the_levels_are_what_unrelated_gradients_show() -> None:
    """Over 300 batches a share is within 0.08 of its level: three standard deviations or more."""
    records = unrelated_batches("abcd", 300)
    directions = [direction_of(method) for method in METHODS]
    levels = chance_levels(records, directions)
    for direction in directions:
        for view, summary in judge(records, direction).items():
            share = summary.conflict_share.value
            assert share == pytest.approx(levels[view][direction.name], abs=0.08), view


def test_a_mean_of_the_gradients_has_no_conflict_with_them_by_chance() -> None:
    levels = chance_levels(unrelated_batches("abcde", 2), [direction_of(each) for each in METHODS])
    assert levels["batch"] == {"marble": 0.0, "equal": 0.0, "weighted-sum": 0.0, "single": 15 / 16}
    assert levels["held-out"] == levels["fresh-signal"] == dict.fromkeys(METHODS, 31 / 32)


def test_an_unknown_method_has_the_level_of_the_applied_direction() -> None:
    records = unrelated_batches("ab", 2)
    applied = Direction("applied", BalanceSettings(method="single", reward="a"))
    levels = chance_levels(records, [applied, Direction("update")])
    assert levels["batch"] == {"applied": 0.5, "update": 0.5}
    assert np.isnan(chance_levels(records, [Direction("update")])["batch"]["update"])


def test_a_reward_without_gradient_has_no_sign() -> None:
    first = [[1.0, 0.0], [0.0, 0.0]]
    records = [record_of(first, first), record_of(np.eye(2), np.eye(2), step=2)]
    levels = chance_levels(records, [direction_of("single")])
    assert levels["batch"]["single"] == (0.0 + 0.5) / 2
    assert levels["held-out"]["single"] == (0.5 + 0.75) / 2


def test_views_without_data_have_no_level() -> None:
    levels = chance_levels([record_of(np.eye(2), np.eye(2))], [direction_of("equal")])
    assert np.isnan(levels["fresh"]["equal"])


def test_unrelated_gradients_keep_their_lengths() -> None:
    vectors = [[1.0, 0.0], [1.0, 1.0]]
    alone = unrelated(record_of(vectors, vectors))
    assert alone.gram == ((4.0, 0.0), (0.0, 8.0))
    assert alone.part_grams is not None
    assert alone.part_grams.cross.tolist() == [[1.0, 0.0], [0.0, 2.0]]
