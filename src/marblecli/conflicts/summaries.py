"""Cosines of many batches with one direction -> how that direction treats the rewards.

A direction conflicts with a reward in a batch when its cosine with the reward's gradient is
negative there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from marblecli.conflicts.estimates import Estimate, estimate_means
from marblecli.types import FloatArray


@dataclass(frozen=True)
class RewardSummary:
    """How one direction treats one reward, over the batches where its cosine exists."""

    cosine: Estimate
    """The mean cosine."""
    cosine_worst: float
    conflict_share: Estimate
    """The share of batches with a negative cosine."""


@dataclass(frozen=True)
class DirectionSummary:
    """How one direction treats the rewards, over the batches where any cosine exists."""

    batches: int
    worst_cosine: Estimate
    """The mean over batches of the least cosine of each."""
    conflict_share: Estimate
    """The share of batches in which at least one reward's cosine is negative."""
    per_reward: Mapping[str, RewardSummary]

    @property
    def worst_reward(self) -> str | None:
        """The reward whose mean cosine is the least; None if no reward has one.

        Noise lowers ``worst_cosine``, because it takes the least of each batch. It doesn't lower
        the mean cosine of this reward.
        """
        means = {
            name: reward.cosine.value
            for name, reward in self.per_reward.items()
            if not np.isnan(reward.cosine.value)
        }
        return min(means, key=means.__getitem__, default=None)


def summarise(names: Sequence[str], cosines: FloatArray) -> DirectionSummary:
    """Summarise a direction's cosines [batches, W, K] with the rewards ``names``; NaN is no cosine.

    Where a batch was judged in W ways, the mean of these ways counts.
    """
    measured = cosines[~np.isnan(cosines).all(axis=(1, 2))]
    in_conflict = conflicts(measured)
    columns = np.column_stack(
        [
            _mean_over(np.fmin.reduce(measured, axis=2), axis=1),
            _mean_over(np.fmax.reduce(in_conflict, axis=2), axis=1),
            _mean_over(measured, axis=1),
            _mean_over(in_conflict, axis=1),
        ]
    )
    worst, share, *each = estimate_means(columns)
    least = np.fmin.reduce(measured, axis=(0, 1), initial=np.nan)
    count = len(names)
    return DirectionSummary(
        batches=len(measured),
        worst_cosine=worst,
        conflict_share=share,
        per_reward={
            name: RewardSummary(each[k], float(least[k]), each[count + k])
            for k, name in enumerate(names)
        },
    )


def conflicts(cosines: FloatArray) -> FloatArray:
    """1 where a cosine is negative, 0 where it isn't, NaN where there is none."""
    return np.where(np.isnan(cosines), np.nan, cosines < 0.0)


def _mean_over(values: FloatArray, axis: int) -> FloatArray:
    """The mean over an axis of the numbers that aren't NaN; NaN where there are none."""
    there = ~np.isnan(values)
    total = np.where(there, values, 0.0).sum(axis=axis)
    counts = there.sum(axis=axis)
    means = np.full(total.shape, np.nan)
    np.divide(total, counts, out=means, where=counts > 0)
    return means
