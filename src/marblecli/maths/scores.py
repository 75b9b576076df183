"""What the scores of a batch say of its rewards: coverage, scales and covariances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from marblecli.maths.advantages import STD_OFFSET, advantages
from marblecli.types import ScoreStats

if TYPE_CHECKING:
    from marblecli.types import FloatArray, IntArray, RewardTable


def score_stats(
    table: RewardTable, groups: IntArray, scale: Literal["batch", "group"] = "batch"
) -> ScoreStats:
    """Summarise the scores of a whole batch of N images, those of all processes.

    ``groups`` [N] is each image's group, and ``scale`` says over what the advantages' standard
    deviation is taken (see :func:`marblecli.maths.advantages.advantages`).
    """
    valid = table.valid
    scaled = advantages(table.values, valid, groups, scale)
    counts = valid.sum(axis=0)
    return ScoreStats(
        coverage=counts / max(len(valid), 1),
        rewards=_covariances(np.where(valid, table.values, 0.0)),
        advantages=_covariances(scaled),
        scales=_deviations(table) + STD_OFFSET if scale == "batch" else None,
    )


def deviation_of_sum(covariances: FloatArray, weights: FloatArray) -> float:
    """The standard deviation of sum_k weights_k x_k, for x with these ``covariances`` [K, K]."""
    return float(np.sqrt(max(0.0, float(weights @ covariances @ weights))))


def _covariances(values: FloatArray) -> FloatArray:
    """[K, K], population covariances of the columns of ``values`` [N, K]."""
    centred = values - values.mean(axis=0)
    found: FloatArray = centred.T @ centred / len(values)
    return found


def _deviations(table: RewardTable) -> FloatArray:
    """[K], the population standard deviation of each reward over the images it applies to."""
    counts = np.maximum(table.valid.sum(axis=0), 1)
    raw = np.where(table.valid, table.values, 0.0)
    centred = np.where(table.valid, raw - raw.sum(axis=0) / counts, 0.0)
    found: FloatArray = np.sqrt((centred**2).sum(axis=0) / counts)
    return found
