"""The shortest combination of vectors whose products with others are at least given numbers.

    min_u  uᵀ G u   subject to  A u >= b,  u >= 0,        G the Gram matrix of the vectors.

With a factor G = RᵀR and x = R u this is the least-distance problem min ||x||² with H x >= h, which
non-negative least squares solves exactly, in finitely many steps: Lawson and Hanson 1974, "Solving
least squares problems", chapter 23, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from marblecli.types import FloatArray

_RIDGE = 1e-9
"""Of the Gram's largest square: it makes the factor definite, and ties even."""
_FARTHEST = 1e5
"""The longest x, where rows of H and h are of length 1, that rounding doesn't make."""


@dataclass(frozen=True)
class LeastNorm:
    """The solution, and what it is worth."""

    weights: FloatArray
    """[K], u."""
    kkt_residual: float
    """The largest violation of the optimality conditions, relative to the size of their terms."""


def least_norm(gram: FloatArray, products: FloatArray, bounds: FloatArray) -> LeastNorm | None:
    """The u [K] with ``products`` u >= ``bounds`` of least uᵀ G u; None if there is none.

    ``gram`` [K, K] is positive semidefinite, up to rounding; ``products`` is [M, K] and ``bounds``
    [M]. What is almost infeasible, to five digits, counts as infeasible.
    """
    count = len(gram)
    scale = float(gram.diagonal().max()) or 1.0
    factor = np.asarray(np.linalg.cholesky(_definite(gram / scale)).T, dtype=np.float64)
    rows = np.vstack([products, np.eye(count)]) @ np.linalg.inv(factor)
    sides = np.concatenate([bounds, np.zeros(count)])
    lengths = np.sqrt((rows**2).sum(axis=1) + sides**2)
    lengths[lengths == 0.0] = 1.0
    found = _least_distance(rows / lengths[:, None], sides / lengths)
    if found is None:
        return None
    nearest, multipliers = found
    weights = np.maximum(np.linalg.solve(factor, nearest), 0.0)
    residual = _residual(factor, rows, sides, weights, multipliers / lengths)
    return LeastNorm(weights, residual)


def _definite(gram: FloatArray) -> FloatArray:
    eigenvalues, vectors = np.linalg.eigh((gram + gram.T) / 2.0)
    definite: FloatArray = (vectors * np.maximum(eigenvalues, 0.0)) @ vectors.T
    return definite + _RIDGE * np.eye(len(gram))


def _least_distance(rows: FloatArray, sides: FloatArray) -> tuple[FloatArray, FloatArray] | None:
    """The least x with ``rows`` x >= ``sides``, and the multipliers; None if there is none."""
    from scipy.optimize import nnls

    target = np.zeros(rows.shape[1] + 1)
    target[-1] = 1.0
    stacked = np.vstack([rows.T, sides])
    try:
        shares, _ = nnls(stacked, target)
    except RuntimeError:  # rounding made it cycle
        return None
    residual = target - stacked @ shares
    # At the optimum this is the squared residual, and 1 / (1 + ||x||²).
    square = float(residual[-1])
    if square < 1.0 / (1.0 + _FARTHEST**2):
        return None
    return -residual[:-1] / square, shares / square


def _residual(
    factor: FloatArray,
    rows: FloatArray,
    sides: FloatArray,
    weights: FloatArray,
    multipliers: FloatArray,
) -> float:
    """How far x = R u is from Hᵀ multipliers, and the slacks from being 0 where these aren't."""
    point = factor @ weights
    length = float(np.linalg.norm(point)) or 1.0
    slacks = rows @ point - sides
    scales = np.linalg.norm(rows, axis=1) * length + np.abs(sides)
    stationary = np.linalg.norm(point - rows.T @ multipliers) / length
    feasible = np.maximum(-slacks, 0.0) / np.where(scales > 0.0, scales, 1.0)
    complementary = np.abs(multipliers @ slacks) / length**2
    return float(max(stationary, feasible.max(), complementary))
