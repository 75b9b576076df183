from __future__ import annotations

import numpy as np
import pytest

from marblecli.conflicts.summaries import conflicts, summarise

NAN = float("nan")


def test_a_summary_worked_by_hand_with_missing_cosines_skipped():
    cosines = np.array([[[0.5, -0.25]], [[0.25, NAN]], [[NAN, NAN]]])
    summary = summarise("ab", cosines)
    assert summary.batches == 2
    assert summary.conflict_share.value == 0.5
    assert summary.worst_cosine.value == 0.0
    assert summary.worst_reward == "b"
    first, second = summary.per_reward["a"], summary.per_reward["b"]
    assert (first.cosine.value, first.cosine_worst, first.conflict_share.value) == (
        0.375,
        0.25,
        0.0,
    )
    assert (second.cosine.value, second.conflict_share.value) == (-0.25, 1.0)


def test_a_batch_judged_in_two_ways_counts_once():
    """In conflict in one of two ways is half a conflict; the least cosines are -.2 and .4."""
    summary = summarise("ab", np.array([[[0.6, -0.2], [0.4, 0.8]]]))
    assert summary.batches == 1
    assert summary.conflict_share.value == 0.5
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
    assert np.isnan([summary.conflict_share.value, summary.per_reward["a"].cosine_worst]).all()


def test_intervals_come_with_enough_batches():
    cosines = np.tile([[0.5, -0.5]], (8, 1, 1)) + np.linspace(-0.1, 0.1, 8)[:, None, None]
    per_reward = summarise("ab", cosines).per_reward
    assert per_reward["a"].cosine.sign == 1
    assert per_reward["b"].cosine.sign == -1


def test_a_conflict_is_a_negative_cosine():
    found = conflicts(np.array([-0.1, 0.0, 0.1, NAN]))
    assert found == pytest.approx([1.0, 0.0, 0.0, NAN], nan_ok=True)
