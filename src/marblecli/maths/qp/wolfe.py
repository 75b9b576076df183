"""Wolfe's algorithm: a walk over the faces of the hull, each solved exactly.

Source: Wolfe 1976, "Finding the nearest point in a polytope", sections 3 and 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from marblecli.maths.qp.faces import differences
from marblecli.maths.qp.problem import ROUNDING

if TYPE_CHECKING:
    from marblecli.types import FloatArray

_POINT_ROUNDING = 1e-14
"""A distance between points of norm about 1, made from their Gram, that is rounding."""


def wolfe(points: FloatArray) -> FloatArray:
    """[K], Wolfe's major cycle on points [K, D] of norms about 1."""
    squared_norms = np.sum(points**2, axis=1)
    weights = np.zeros(len(points))
    weights[np.argmin(squared_norms)] = 1.0
    for _ in range(50 + 10 * len(points)):  # rounding could make it cycle; few are ever needed
        nearest = points.T @ weights
        products = points @ nearest
        entering = int(np.argmin(products))
        if products[entering] >= nearest @ nearest - ROUNDING or weights[entering] > 0.0:
            break
        moved = _minor_cycle(points, weights, entering)
        if moved is None:
            break
        weights = moved
    return weights


def _minor_cycle(points: FloatArray, weights: FloatArray, entering: int) -> FloatArray | None:
    """[K], to the minimiser of a face, dropping points until it lies inside; None if stuck."""
    support = np.append(np.flatnonzero(weights > 0.0), entering)
    current = weights[support]
    while True:
        target = _face_minimiser(points[support])
        outside = target <= 0.0
        if not outside.any():
            break
        if outside[-1] and support[-1] == entering and current[-1] == 0.0:
            return None
        ratios = np.where(outside, current, np.inf) / np.where(outside, current - target, 1.0)
        leaving = int(np.argmin(ratios))
        current = np.maximum(current + ratios[leaving] * (target - current), 0.0)
        current[leaving] = 0.0
        kept = current > 0.0
        support, current = support[kept], current[kept] / current[kept].sum()
    moved = np.zeros(len(points))
    moved[support] = target / target.sum()
    return moved


def _face_minimiser(points: FloatArray) -> FloatArray:
    """[K], weights of the min-norm point of the affine hull of points [K, D].

    The most even ones if there are several: the step from the even mixture is the shortest.
    """
    count = len(points)
    basis = differences(count)
    mean = points.mean(axis=0)
    left, singular, right = np.linalg.svd(points.T @ basis, full_matrices=False)
    kept = singular > _POINT_ROUNDING
    step: FloatArray = right[kept].T @ ((left[:, kept].T @ mean) / singular[kept])
    return np.full(count, 1.0 / count) - basis @ step
