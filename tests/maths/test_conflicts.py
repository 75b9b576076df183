from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marblecli.errors import BadInputError
from marblecli.maths.conflicts import (
    batch_cosines,
    direction_cosines,
    judge,
    pairwise_cosines,
    who_fights_whom,
)
from marblecli.types import ConflictRecord


def record_of(gradients, names="ab", cosines=None, step=1):
    gradients = np.asarray(gradients, dtype=float)
    gram = gradients @ gradients.T
    count = len(gradients)
    return ConflictRecord(
        step=step,
        rewards=tuple(names),
        valid=(4,) * count,
        norms=tuple(np.linalg.norm(gradients, axis=1).tolist()),
        gram=tuple(map(tuple, gram.tolist())),
        simplex_weights=(1.0 / count,) * count,
        coefficients=(1.0,) * count,
        cosines={} if cosines is None else cosines,
    )


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 6), seed=st.integers(0, 2**32 - 1))
def test_cosines_from_the_gram_are_those_of_the_vectors(count, seed):
    rng = np.random.default_rng(seed)
    gradients, coefficients = rng.normal(size=(count, 9)), rng.random(count)
    direction = coefficients @ gradients
    norms = np.linalg.norm(gradients, axis=1)
    expected = gradients @ direction / (norms * np.linalg.norm(direction))
    found = direction_cosines(gradients @ gradients.T, coefficients)
    assert found == pytest.approx(expected, abs=1e-9)


def test_direction_cosines_worked_by_hand():
    """g = (1, 0) and (-3, 3); d = g_1 + g_2 = (-2, 3)."""
    found = direction_cosines(np.array([[1.0, -3.0], [-3.0, 18.0]]), np.array([1.0, 1.0]))
    assert found == pytest.approx([-2 / np.sqrt(13), 15 / np.sqrt(18 * 13)])


def test_a_zero_gradient_has_no_cosine():
    found = direction_cosines(np.diag([4.0, 0.0]), np.array([1.0, 0.0]))
    assert found[0] == pytest.approx(1.0)
    assert np.isnan(found[1])


@pytest.mark.parametrize("rounding", [0.0, 1e-16, -1e-16])
def test_a_direction_that_cancels_out_has_no_cosines(rounding):
    gram = np.array([[1.0 + rounding, -1.0], [-1.0, 1.0]])
    assert np.isnan(direction_cosines(gram, np.array([0.5, 0.5]))).all()


def test_pairwise_cosines_worked_by_hand():
    found = pairwise_cosines(np.array([[4.0, -3.0, 0.0], [-3.0, 9.0, 0.0], [0.0, 0.0, 0.0]]))
    assert found[:2, :2] == pytest.approx(np.array([[1.0, -0.5], [-0.5, 1.0]]))
    assert np.isnan(found[2]).all()
    assert np.isnan(found[:, 2]).all()


def test_judge_worked_by_hand_with_missing_cosines_skipped():
    records = [
        record_of(np.eye(2), cosines={"applied": (0.5, -0.25)}),
        record_of(np.eye(2), cosines={"applied": (0.25, None)}),
        record_of(np.eye(2), cosines={"applied": (None, None)}),
    ]
    summary = judge(records, "applied")
    assert summary.batches == 2
    assert summary.fought_share == 0.5
    assert summary.worst_cosine_mean == 0.0
    assert summary.per_reward["a"].fought_share == 0.0
    assert summary.per_reward["a"].cosine_mean == 0.375
    assert summary.per_reward["b"].fought_share == 1.0
    assert summary.per_reward["b"].cosine_mean == -0.25


def test_rewards_are_matched_by_name_across_batches():
    records = [
        record_of(np.eye(2), "ab", {"applied": (0.5, 0.1)}),
        record_of(np.eye(2), "bc", {"applied": (0.3, -0.1)}),
    ]
    summary = judge(records, "applied")
    assert {name: reward.cosine_mean for name, reward in summary.per_reward.items()} == (
        pytest.approx({"a": 0.5, "b": 0.2, "c": -0.1})
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_marble_judged_on_the_batch_it_was_solved_for_fights_nobody(seed):
    rng = np.random.default_rng(seed)
    names = ("a", "b", "c", "d")
    records = [
        record_of(rng.normal(size=(4, 6)) * 30.0 ** rng.random((4, 1)), names) for _ in range(5)
    ]
    summary = judge(records, "marble")
    assert summary.fought_share == 0.0
    for other in ("equal", "weighted-sum"):
        assert judge(records, other).worst_cosine_mean <= summary.worst_cosine_mean + 1e-9


def test_the_weighted_sum_of_unequal_norms_fights_the_smaller():
    """g = (1, 0) and (-3, 3): see above."""
    record = record_of([[1.0, 0.0], [-3.0, 3.0]])
    assert judge([record], "weighted-sum").per_reward["a"].fought_share == 1.0
    assert judge([record], "equal").fought_share == 0.0


def test_recorded_cosines_win_over_recomputed_ones():
    record = record_of(np.eye(2), cosines={"weighted-sum": (0.1, 0.2)})
    assert batch_cosines(record, "weighted-sum").tolist() == [0.1, 0.2]


def test_a_batch_without_any_gradient_is_skipped():
    summary = judge([record_of(np.zeros((2, 2))), record_of(np.eye(2))], "marble")
    assert summary.batches == 1
    assert summary.worst_cosine_mean == pytest.approx(np.sqrt(0.5))


def test_a_direction_that_no_record_holds_has_no_numbers():
    summary = judge([record_of(np.eye(2))], "update")
    assert summary.batches == 0
    assert np.isnan(summary.fought_share)


def test_an_unknown_balancer_is_refused_with_the_nearest_name():
    with pytest.raises(BadInputError, match=r"'equall' \(did you mean 'equal'\?\); there are: "):
        judge([record_of(np.eye(2))], "equall")


def test_who_fights_whom_worked_by_hand_worst_first():
    records = [
        record_of([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0]], "abc"),
        record_of([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]], "abc"),
    ]
    pairs = {(pair.first, pair.second): pair for pair in who_fights_whom(records)}
    against = pairs["a", "b"]
    assert (against.batches, against.fought_share) == (2, 0.5)
    assert against.cosine_mean == pytest.approx((np.sqrt(0.5) - 1.0) / 2.0)
    assert (pairs["a", "c"].batches, pairs["a", "c"].cosine_mean) == (1, 0.0)
    assert next(iter(pairs)) == ("a", "b")
