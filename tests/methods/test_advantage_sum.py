"""The losses of summed advantages, against the formulas of the papers, computed naively."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from marblecli.errors import MarbleError
from marblecli.maths.advantages import advantages
from marblecli.maths.scores import score_stats
from marblecli.methods.advantage_sum import needed_scores, summed_targets
from marblecli.methods.method import LossInputs
from marblecli.methods.schedule import MethodSchedule, MethodState
from marblecli.methods.testing import drawn_statistics
from marblecli.settings import BalanceSettings
from marblecli.types import Balance, FloatArray, GradientStats, IntArray, RewardTable
from support.scores import random_table

WEIGHTS = np.array([1.0, 0.3, 2.0, 0.7])
CLIP = 5.0

Naive = Callable[[RewardTable, IntArray], FloatArray]


def naive_raw_sum(table: RewardTable, groups: IntArray) -> FloatArray:
    """[N], image by image: the weighted sum less its group's mean, over its deviation."""
    sums = np.array(
        [
            sum(w * r for w, r, m in zip(WEIGHTS, rewards, mask, strict=True) if m)
            for rewards, mask in zip(table.values, table.valid, strict=True)
        ]
    )
    centred = [one - sums[groups == group].mean() for one, group in zip(sums, groups, strict=True)]
    return np.array(centred) / (np.std(sums) + 1e-4)


def naive_gdpo(table: RewardTable, groups: IntArray) -> FloatArray:
    """[N]: every reward normalised, summed by weight, less the batch's mean, over its deviation."""
    sums = np.zeros(len(groups))
    for k, weight in enumerate(WEIGHTS):
        there = table.valid[:, k]
        deviation = np.std(table.values[there, k])
        for i in np.flatnonzero(there):
            mean = table.values[there & (groups == groups[i]), k].mean()
            sums[i] += weight * (table.values[i, k] - mean) / (deviation + 1e-4)
    return (sums - sums.mean()) / (np.std(sums) + 1e-4)


def chosen(method: str, table: RewardTable, groups: IntArray, scale: str = "batch") -> Balance:
    """What the method makes of the batch, whose gradients are orthogonal."""
    stats = GradientStats(table.names, np.eye(4), np.ones(4, dtype=bool))
    schedule = MethodSchedule.of(BalanceSettings(method=method))
    scores = score_stats(table, groups, "group" if scale == "group" else "batch")
    return schedule.next(stats, WEIGHTS, 1, MethodState(), None, scores)[0]


def inputs(
    table: RewardTable, groups: IntArray, coefficients: FloatArray, clip: float = CLIP
) -> LossInputs:
    return LossInputs(
        advantages=advantages(table.values, table.valid, groups),
        shares=table.valid / table.valid.sum(0),
        coefficients=coefficients,
        clip=clip,
        images=len(groups),
    )


@pytest.mark.parametrize(("method", "naive"), [("raw-sum", naive_raw_sum), ("gdpo", naive_gdpo)])
@pytest.mark.parametrize("seed", range(4))
def test_the_loss_is_that_of_the_advantages_of_the_paper(
    method: str, naive: Naive, seed: int
) -> None:
    table, groups = random_table(seed)
    found = summed_targets(inputs(table, groups, chosen(method, table, groups).coefficients))
    expected = np.clip(naive(table, groups) / CLIP, -1.0, 1.0) / 2.0 + 0.5
    assert found.optimality == pytest.approx(expected, rel=1e-9)
    assert found.shares.tolist() == [1 / 48] * 48


@pytest.mark.parametrize("method", ["raw-sum", "gdpo"])
def test_the_coefficients_are_those_of_the_same_sum_of_the_losses(method: str) -> None:
    """Without clipping, every image has the same signal in the one loss and in the sum of K.

    What enters the signal is the share times the optimality probability's distance from 1/2.
    """
    table, groups = random_table(1)
    balance = chosen(method, table, groups)
    given = inputs(table, groups, balance.coefficients, clip=1e6)
    one = summed_targets(given)
    summed = given.shares * given.advantages / given.clip / 2.0 @ balance.coefficients
    assert one.shares * (one.optimality - 0.5) == pytest.approx(summed, rel=1e-6, abs=1e-12)


def test_the_loudest_reward_leads_the_raw_sum_and_no_other() -> None:
    table, groups = random_table(2)
    loud = RewardTable(table.names, table.values * [1.0, 1.0, 1e6, 1.0], table.valid)
    raw = chosen("raw-sum", loud, groups).simplex_weights
    assert raw[2] == pytest.approx(1.0, abs=1e-3)
    before, after = (chosen("gdpo", each, groups).simplex_weights for each in (table, loud))
    assert after == pytest.approx(before, rel=0.05)


def test_advantages_normalised_by_group_have_no_raw_sum() -> None:
    table, groups = random_table(0)
    with pytest.raises(MarbleError, match=r"raw-sum needs training[.]advantage_scale"):
        chosen("raw-sum", table, groups, scale="group")
    assert (chosen("gdpo", table, groups, scale="group").coefficients > 0.0).all()


def test_without_scores_the_error_names_the_method() -> None:
    from dataclasses import replace

    statistics = replace(drawn_statistics(("a", "b"), 1), scores=None)
    with pytest.raises(MarbleError, match="gdpo needs the batch's scores"):
        needed_scores(statistics, "gdpo")
