from __future__ import annotations

import numpy as np
import pytest

from marblecli.maths.advantages import advantages
from marblecli.maths.scores import deviation_of_sum, score_stats
from marblecli.types import RewardTable
from support.scores import random_table


def test_the_scores_of_four_images_worked_by_hand() -> None:
    """The second reward applies to the second group only, where it is 2 and 4.

    The first is 1, 3, 1, 3: deviation 1. The second deviates by 1 from its mean of 3, and over all
    images it is 0, 0, 2, 4 with mean 1.5: variance (2.25 + 2.25 + 0.25 + 6.25) / 4. The products
    of both deviations are 1.5, -1.5, -0.5 and 2.5, whose mean is 0.5.
    """
    values = np.array([[1.0, 0.0], [3.0, 0.0], [1.0, 2.0], [3.0, 4.0]])
    valid = np.array([[True, False], [True, False], [True, True], [True, True]])
    found = score_stats(RewardTable(("a", "b"), values, valid), np.array([0, 0, 1, 1]))
    assert found.coverage.tolist() == [1.0, 0.5]
    assert found.scales == pytest.approx([1.0001, 1.0001])
    assert found.rewards == pytest.approx(np.array([[1.0, 0.5], [0.5, 2.75]]))
    # Advantages are -1, 1, -1, 1 and 0, 0, -1, 1, but for the offset.
    assert found.advantages == pytest.approx(np.array([[1.0, 0.5], [0.5, 0.5]]), rel=3e-4)


def test_the_scales_turn_advantages_back_into_centred_rewards() -> None:
    table, groups = random_table(3)
    found = score_stats(table, groups)
    scaled = advantages(table.values, table.valid, groups)
    for k in range(len(table.names)):
        for group in range(8):
            here = (groups == group) & table.valid[:, k]
            centred = table.values[here, k] - table.values[here, k].mean() if here.any() else []
            assert scaled[here, k] * found.scales[k] == pytest.approx(centred)


def test_scales_that_differ_by_group_are_none() -> None:
    table, groups = random_table(0)
    assert score_stats(table, groups, "group").scales is None


def test_the_deviation_of_a_sum_is_that_of_the_summed_numbers() -> None:
    numbers = np.random.default_rng(0).normal(size=(30, 3))
    weights = np.array([1.0, -2.0, 0.5])
    covariances = np.cov(numbers.T, bias=True)
    assert deviation_of_sum(covariances, weights) == pytest.approx(np.std(numbers @ weights))
    # What is opposite cancels, and rounding must not make a root of a negative number.
    opposite = np.array([[1.0, -1.0], [-1.0, 1.0 - 1e-16]])
    assert deviation_of_sum(opposite, np.ones(2)) == 0.0
