from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from marblecli.conflicts.columns import named_half_cosines
from marblecli.conflicts.estimates import (
    MIN_BATCHES,
    NOTHING,
    Estimate,
    _student_quantile,
    estimate_means,
    shared_signal,
)
from support.records import noisy_records

NAMES = ("a", "b")


def shared_of(records):
    return shared_signal(np.stack([named_half_cosines(record, NAMES) for record in records]))


@settings(max_examples=30, deadline=None)
@given(count=st.integers(MIN_BATCHES, 40), seed=st.integers(0, 2**32 - 1))
def test_the_interval_holds_the_mean_and_stays_between_the_extremes(count, seed):
    values = np.random.default_rng(seed).normal(size=(count, 2))
    for column, estimate in zip(values.T, estimate_means(values), strict=True):
        assert estimate.value == pytest.approx(column.mean())
        assert column.min() <= estimate.low <= estimate.value <= estimate.high <= column.max()


def test_intervals_cover_the_true_mean_as_often_as_they_say():
    """400 columns of 8 normal numbers: percentiles that weren't widened would cover 89 %."""
    values = np.random.default_rng(0).normal(size=(8, 400))
    covered = np.mean([each.low <= 0.0 <= each.high for each in estimate_means(values)])
    assert 0.92 <= covered <= 0.98


def test_missing_numbers_are_left_out():
    nan = np.nan
    values = np.array([[1.0, nan], [3.0, nan], [nan, nan], [5.0, 7.0]])
    first, second = estimate_means(values)
    assert (first.value, second.value) == (3.0, 7.0)
    assert math.isnan(first.low)


def test_no_number_at_all_is_no_estimate():
    (estimate,) = estimate_means(np.full((9, 1), np.nan))
    assert math.isnan(estimate.value)
    assert estimate.sign == 0


@pytest.mark.parametrize(("count", "sign"), [(MIN_BATCHES - 1, 0), (MIN_BATCHES, 1)])
def test_few_batches_that_agree_by_chance_are_not_significant(count, sign):
    values = np.linspace(0.1, 0.2, count)[:, None]
    assert estimate_means(values)[0].sign == sign


@pytest.mark.parametrize(
    ("low", "high", "sign"), [(0.1, 0.2, 1), (-0.2, -0.1, -1), (-0.1, 0.1, 0), (0.0, 0.1, 0)]
)
def test_the_sign_is_that_of_the_whole_interval(low, high, sign):
    assert Estimate(0.05, low, high).sign == sign


def test_intervals_are_the_same_on_every_call():
    values = np.random.default_rng(0).normal(size=(12, 3))
    assert estimate_means(values) == estimate_means(values)


@pytest.mark.parametrize("freedom", [5, 7, 11, 40, 500])
def test_students_quantile(freedom):
    found = _student_quantile(0.975, freedom)
    assert found == pytest.approx(student.ppf(0.975, freedom), abs=3e-3)


def test_the_corrected_cosine_worked_by_hand():
    """Split halves .2 and .05, halves of different rewards -.08: -.08 / sqrt(.2 * .05) = -.8."""
    halves = np.tile([[0.2, -0.08], [-0.08, 0.05]], (8, 1, 1))
    shared = shared_signal(halves)
    assert [each.value for each in shared.reliability] == pytest.approx([0.2, 0.05])
    assert shared.corrected[0][1].value == pytest.approx(-0.8)
    assert shared.corrected[0][0].value == pytest.approx(1.0)
    assert shared.corrected[1][0] == shared.corrected[0][1]


def test_a_corrected_cosine_never_leaves_its_range():
    halves = np.tile([[0.01, 0.5], [0.5, 0.01]], (8, 1, 1))
    corrected = shared_signal(halves).corrected[0][1]
    assert (corrected.value, corrected.high) == (1.0, 1.0)


@pytest.mark.parametrize("seed", range(4))
def test_the_true_cosine_is_found_under_noise_that_hides_it(seed):
    """True -0.9, of which single batches show a sixth."""
    records = noisy_records(-0.9, strength=0.3, batches=40, seed=seed)
    corrected = shared_of(records).corrected[0][1]
    grams = np.array([record.gram for record in records])
    (naive,) = estimate_means((grams[:, 0, 1] / np.sqrt(grams[:, 0, 0] * grams[:, 1, 1]))[:, None])
    assert corrected.low <= -0.9 <= corrected.high < -0.6
    assert naive.low > -0.3


def test_corrected_intervals_cover_the_truth_as_often_as_they_say():
    runs = [
        shared_of(noisy_records(-0.9, strength=0.3, batches=12, seed=seed)).corrected[0][1]
        for seed in range(150)
    ]
    covered = np.mean([run.low <= -0.9 <= run.high for run in runs])
    assert 0.87 <= covered <= 0.99


def test_pure_noise_is_never_significant():
    for seed in range(50):
        shared = shared_of(noisy_records(0.0, strength=0.0, batches=12, seed=seed))
        assert shared.corrected[0][1] is NOTHING


def test_noise_that_both_rewards_share_is_no_agreement():
    """Rewards that score the same images agree on each batch, and on nothing beyond it."""
    records = noisy_records(0.0, strength=0.0, batches=20, shared=0.8)
    gram = np.mean([record.gram for record in records], axis=0)
    assert gram[0, 1] / np.sqrt(gram[0, 0] * gram[1, 1]) > 0.7
    assert shared_of(records).corrected[0][1] is NOTHING
