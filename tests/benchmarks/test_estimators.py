from __future__ import annotations

import numpy as np
import pytest

from estimators import METHODS, Measured, estimators, gain, judged, remembered
from marblecli.maths.scores import score_stats
from marblecli.types import PartGrams
from support.scores import random_table


def test_a_gain_worked_by_hand() -> None:
    """Signals 1 and 2, orthogonal; a noise of 3 on the first: the step (1, 1) is as long as 14."""
    truth, gram = np.diag([1.0, 4.0]), np.diag([10.0, 4.0])
    assert gain(truth, gram, np.ones(2)) == pytest.approx(np.array([1.0, 2.0]) / np.sqrt(14.0))


def test_the_worst_is_that_of_the_means_over_batches() -> None:
    """Each of two batches serves one of two rewards alone."""
    eye = np.eye(2)
    found = judged(eye, [eye, eye], [np.array([1.0, 0.0]), np.array([0.0, 1.0])])
    assert found["worst_mean_gain"] == found["worst_mean_cosine"] == pytest.approx(0.5)
    assert found["share_in_conflict"] == 0.0


def test_a_method_that_knows_the_noise_serves_the_noisy_reward_better() -> None:
    """Two rewards in conflict, the first of which is mostly noise."""
    rng = np.random.default_rng(0)
    true = np.zeros((2, 400))
    true[0, 0], true[1, :2] = 1.0, (-0.6, 0.8)
    noise = np.array([[3.0], [0.3]]) / np.sqrt(800.0)
    table, groups = random_table(0, rewards=2)
    batches = []
    for _ in range(60):
        first, second = (true / 2 + noise * rng.normal(size=true.shape) for _ in range(2))
        whole, nothing = first + second, np.zeros((2, 2))
        parts = PartGrams(first @ first.T, second @ second.T, first @ second.T, nothing, nothing)
        batches.append(Measured(whole @ whole.T, parts, score_stats(table, groups), whole))
    found = estimators(("a", "b"), true @ true.T, batches)
    assert set(METHODS) < set(found)
    worst = {label: figures["worst_mean_gain"] for label, figures in found.items()}
    assert worst["noise-aware"] > worst["marble, this batch"] + 0.1


def test_no_signal_is_known_in_the_first_batch_and_the_true_one_is_found() -> None:
    rng = np.random.default_rng(0)
    true = np.array([[1.0, 0.0], [-0.6, 0.8]])
    table, groups = random_table(0, rewards=2)
    batches = []
    for _ in range(200):
        whole = np.pad(true, ((0, 0), (0, 100))) + rng.normal(size=(2, 102)) / 10.0
        parts = PartGrams(*(np.zeros((2, 2)),) * 5)
        batches.append(Measured(whole @ whole.T, parts, score_stats(table, groups), whole))
    first, *later = remembered(batches)
    assert first is None
    mean = np.mean([each.gram for each in later if each is not None], 0)
    assert mean == pytest.approx(true @ true.T, abs=0.05)
