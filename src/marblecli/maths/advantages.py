"""Rewards and groups -> advantages -> optimality probabilities, one estimator per reward.

Source: DiffusionNFT, arXiv 2509.16117, section 3 (the optimality reward r); one normalisation per
reward, with its mask, as in MARBLE, arXiv 2605.06507.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from marblecli.types import BoolArray, FloatArray, IntArray

STD_OFFSET = 1e-4
"""Added to the standard deviation, in the reward's own unit."""


def advantages(
    values: FloatArray,
    valid: BoolArray,
    groups: IntArray,
    scale: Literal["batch", "group"] = "batch",
) -> FloatArray:
    """[N, K] A_ik = (R_ik - mean of reward k over the group of i) / (sigma_k + 1e-4).

    ``values`` [N, K] raw rewards; ``valid`` [N, K], what may be read; ``groups`` [N], any integers.
    sigma_k is the population standard deviation of the raw rewards, over the whole batch or over
    the image's group. Only valid entries count, and the rest get 0.
    """
    raw = np.where(valid, values, 0.0)
    _, group_of = np.unique(groups, return_inverse=True)
    whole = np.zeros_like(group_of)
    centred = np.where(valid, raw - _mean_by(raw, valid, group_of), 0.0)
    cells = whole if scale == "batch" else group_of
    deviations = np.where(valid, raw - _mean_by(raw, valid, cells), 0.0)
    sigma = np.sqrt(_mean_by(deviations**2, valid, cells))
    return centred / (sigma + STD_OFFSET)


def optimality_probability(advantages: FloatArray, clip: float) -> FloatArray:
    """[N, K] r_ik = clip(A_ik / clip, -1, 1) / 2 + 1/2, in [0, 1]; 1/2 where nothing was valid.

    ``advantages`` [N, K]; ``clip`` > 0, the advantage at which r saturates.
    """
    return np.clip(advantages / clip, -1.0, 1.0) / 2.0 + 0.5


def _mean_by(values: FloatArray, valid: BoolArray, cells: IntArray) -> FloatArray:
    """[N, K], each entry's mean over the valid entries of its cell; 0 where there are none."""
    shape = (int(cells.max(initial=-1)) + 1, values.shape[1])
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, cells, values)
    np.add.at(counts, cells, valid.astype(np.float64))
    means: FloatArray = (sums / np.maximum(counts, 1.0))[cells]
    return means
