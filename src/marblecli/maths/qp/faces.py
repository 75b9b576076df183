"""Faces of a simplex: the optimum on one, polished to rounding."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from marblecli.maths.qp.problem import ROUNDING

if TYPE_CHECKING:
    from marblecli.types import FloatArray

_NEGLIGIBLE = 1e-5
"""A weight, relative to the largest, that a ridge can give to what has none without it."""


def even(weights: FloatArray) -> FloatArray:
    """[K], the even mixture of all that the ridge doesn't hold by a thread."""
    held = weights > _NEGLIGIBLE * weights.max()
    even: FloatArray = held / np.count_nonzero(held)
    return even


def polish(gram: FloatArray, weights: FloatArray) -> Iterator[FloatArray]:
    """[K], the optimum of the face that the weights lie on; nothing if it leaves the simplex.

    Newton's step along the directions whose curvature the Gram resolves, and again for rounding;
    the others keep the weights' own share, so that from the even mixture ties stay even.
    """
    support = weights.nonzero()[0]
    face = gram[support[:, None], support]
    basis = differences(len(support))
    curvatures, vectors = np.linalg.eigh(basis.T @ face @ basis)
    resolved = ROUNDING * len(gram) ** 0.5 * max(1.0, curvatures.max(initial=0.0))
    steep = curvatures > resolved
    directions = basis @ vectors[:, steep]
    newton, products = directions / curvatures[steep], face @ directions
    point = weights[support]
    for _ in range(3):
        point = point - newton @ (point @ products)
    if point.min() >= -ROUNDING:
        point = np.maximum(point, 0.0)
        polished = np.zeros(len(gram))
        polished[support] = point / point.sum()
        yield polished


@lru_cache(maxsize=128)
def differences(count: int) -> FloatArray:
    """[K, K - 1], an orthonormal basis of the vectors that sum to zero (Helmert)."""
    basis: FloatArray = np.triu(np.ones((count, count - 1)))
    below = np.arange(1, count)
    basis[below, below - 1] = -below
    normed: FloatArray = basis / np.sqrt(below * (below + 1.0))
    return normed
