from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marblecli.conflicts.vectors import (
    by_name,
    cosines_with,
    direction_cosines,
    direction_length,
    pairwise_cosines,
    summarise,
    who_fights_whom,
)

NAN = float("nan")


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


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 6), seed=st.integers(0, 2**32 - 1))
def test_cosines_of_other_vectors_are_those_of_the_vectors(count, seed):
    rng = np.random.default_rng(seed)
    gradients, others = rng.normal(size=(2, count, 9))
    coefficients = rng.normal(size=count)
    direction = coefficients @ gradients
    norms = np.linalg.norm(others, axis=1)
    expected = others @ direction / (norms * np.linalg.norm(direction))
    length = direction_length(gradients @ gradients.T, coefficients)
    found = cosines_with(others @ gradients.T, norms, coefficients, length)
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


def test_values_are_put_in_the_order_of_the_names(record_of):
    record = record_of(np.eye(2), np.eye(2), names="ca")
    found = by_name(record, ("a", "b", "c"), (0.5, None))
    assert found == pytest.approx([NAN, NAN, 0.5], nan_ok=True)


def test_a_summary_worked_by_hand_with_missing_cosines_skipped():
    cosines = np.array([[[0.5, -0.25]], [[0.25, NAN]], [[NAN, NAN]]])
    summary = summarise("ab", cosines)
    assert summary.batches == 2
    assert summary.fought_share.value == 0.5
    assert summary.worst_cosine.value == 0.0
    assert summary.worst_reward == "b"
    first, second = summary.per_reward["a"], summary.per_reward["b"]
    assert (first.cosine.value, first.cosine_worst, first.fought_share.value) == (0.375, 0.25, 0.0)
    assert (second.cosine.value, second.fought_share.value) == (-0.25, 1.0)


def test_a_batch_judged_in_two_ways_counts_once():
    """Fought in one of two ways is half fought; the least cosines are -.2 and .4."""
    summary = summarise("ab", np.array([[[0.6, -0.2], [0.4, 0.8]]]))
    assert summary.batches == 1
    assert summary.fought_share.value == 0.5
    assert summary.worst_cosine.value == pytest.approx(0.1)
    assert summary.per_reward["b"].cosine.value == pytest.approx(0.3)
    assert summary.per_reward["b"].cosine_worst == -0.2


def test_the_least_of_noisy_cosines_is_low_and_the_least_mean_is_not():
    """Five rewards at +0.1: noise makes some cosine of every batch negative, and none of them."""
    cosines = 0.1 + 0.3 * np.random.default_rng(0).normal(size=(200, 1, 5))
    summary = summarise("abcde", cosines)
    assert summary.worst_cosine.high < -0.1
    assert summary.per_reward[summary.worst_reward].cosine.low > 0.0


def test_no_batch_no_numbers():
    summary = summarise("ab", np.full((3, 1, 2), NAN))
    assert summary.batches == 0
    assert summary.worst_reward is None
    assert np.isnan([summary.fought_share.value, summary.per_reward["a"].cosine_worst]).all()


def test_intervals_come_with_enough_batches():
    cosines = np.tile([[0.5, -0.5]], (8, 1, 1)) + np.linspace(-0.1, 0.1, 8)[:, None, None]
    per_reward = summarise("ab", cosines).per_reward
    assert per_reward["a"].cosine.sign == 1
    assert per_reward["b"].cosine.sign == -1


def test_pairs_worked_by_hand_worst_first(record_of):
    zero = np.zeros((3, 2))
    records = [
        record_of([[1, 0], [-1, 0], [0, 2]], zero, names="abc"),
        record_of([[1, 0], [1, 1], [0, 0]], zero, names="abc"),
    ]
    pairs = {(pair.first, pair.second): pair for pair in who_fights_whom(records)}
    against = pairs["a", "b"]
    assert (against.batches, against.fought_share.value) == (2, 0.5)
    assert against.cosine.value == pytest.approx((np.sqrt(0.5) - 1.0) / 2.0)
    assert (pairs["a", "c"].batches, pairs["a", "c"].cosine.value) == (1, 0.0)
    assert next(iter(pairs)) == ("a", "b")


@pytest.mark.parametrize(
    ("cosine", "strength", "verdict"),
    [
        (-0.9, 0.4, "conflict"),
        (0.9, 0.4, "agreement"),
        (0.9, 0.0, "can't be told from noise"),
        (0.0, 0.4, "can't be told from noise"),
    ],
)
def test_verdicts(noisy_records, cosine, strength, verdict):
    (pair,) = who_fights_whom(noisy_records(cosine, strength, batches=30))
    assert pair.verdict == verdict


def test_records_without_halves_have_no_verdict(noisy_records):
    records = [dataclasses.replace(each, parts={}) for each in noisy_records(-0.9, 0.4, 30)]
    (pair,) = who_fights_whom(records)
    assert pair.verdict == "not measured"
    assert pair.cosine.value < 0.0
    assert np.isnan(pair.corrected.value)


def test_told_conflicts_come_before_what_single_batches_show(noisy_records):
    """A pair that shared noise puts at odds in every batch, after one that truly is."""
    true = noisy_records(-0.9, 0.4, batches=30)
    noise = noisy_records(0.0, 0.0, batches=30, shared=-0.8)
    records = [
        dataclasses.replace(
            one,
            rewards=("n", "m", "s", "t"),
            norms=(*other.norms, *one.norms),
            gram=_diagonal(other.gram, one.gram),
            parts={key: _diagonal(other.parts[key], one.parts[key]) for key in one.parts},
        )
        for one, other in zip(true, noise, strict=True)
    ]
    pairs = who_fights_whom(records)
    assert (pairs[0].first, pairs[0].second) == ("s", "t")
    noisy = next(pair for pair in pairs if (pair.first, pair.second) == ("n", "m"))
    assert noisy.cosine.value < pairs[0].cosine.value


def _diagonal(one, other):
    block = np.zeros((4, 4))
    block[:2, :2], block[2:, 2:] = one, other
    return tuple(map(tuple, block.tolist()))
