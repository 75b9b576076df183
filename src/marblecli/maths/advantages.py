"""Rewards and groups -> advantages -> optimality probabilities, for each reward separately.

Source: DiffusionNFT, arXiv 2509.16117, section 3 (the optimality reward r). Each reward is
normalised by itself, over the images that it applies to, as in MARBLE, arXiv 2605.06507.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from marblecli.types import BoolArray, FloatArray, IntArray

STD_OFFSET = 1e-4
"""Added to the standard deviation of a reward, in the reward's unit."""


def advantages(
    values: FloatArray,
    valid: BoolArray,
    groups: IntArray,
    scale: Literal["batch", "group"] = "batch",
) -> FloatArray:
    """[N, K] A_ik = (R_ik - mean of reward k over the group of i) / (sigma_k + 1e-4).

    ``values`` [N, K] are the raw rewards, ``valid`` [N, K] says which of them count, and ``groups``
    [N] is each image's group, any integers. sigma_k is the population standard deviation of the raw
    rewards over the whole batch or over the image's group. Entries that aren't valid get 0.
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
    """[N, K] r_ik = clip(A_ik / clip, -1, 1) / 2 + 1/2, in [0, 1]; 1/2 where the advantage is 0.

    ``advantages`` is [N, K]. ``clip`` > 0 is the advantage at which r reaches 1.
    """
    return np.clip(advantages / clip, -1.0, 1.0) / 2.0 + 0.5


def _mean_by(values: FloatArray, valid: BoolArray, cells: IntArray) -> FloatArray:
    """[N, K], for each entry the mean of the valid entries in its cell; 0 if there are none."""
    shape = (int(cells.max(initial=-1)) + 1, values.shape[1])
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, cells, values)
    np.add.at(counts, cells, valid.astype(np.float64))
    means: FloatArray = (sums / np.maximum(counts, 1.0))[cells]
    return means
