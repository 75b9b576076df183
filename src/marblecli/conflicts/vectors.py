"""Cosines and lengths from inner products: the one home of this arithmetic.

For d = sum_l c_l g_l and any vectors v_k, <v_k, d> = sum_l c_l <v_k, g_l> and ||d||² = cᵀGc, where
G is the Gram matrix of the g_l. The products are therefore enough to judge any direction.
"""

from __future__ import annotations

import numpy as np

from marblecli.types import FloatArray, PartGrams

ROUNDING = 1e-6
"""The length of a sum of gradients in single precision, relative to that of its terms, below which
it is rounding."""


def ratios(products: FloatArray, lengths: FloatArray) -> FloatArray:
    """Cosines from inner products and the products of both lengths; NaN where a length is 0.

    Both arrays have the same shape.
    """
    cosines = np.full(products.shape, np.nan)
    np.divide(products, lengths, out=cosines, where=lengths > 0.0)
    return cosines


def cosines_with(
    products: FloatArray, norms: FloatArray, coefficients: FloatArray, length: float
) -> FloatArray:
    """[K], cosines of vectors v_k with d = sum_l coefficients_l g_l of that ``length``.

    ``products`` [K, L] holds <v_k, g_l>, and ``norms`` [K] is of the v_k. NaN where a norm or the
    length is 0.
    """
    return ratios(products @ coefficients, norms * length)


def direction_cosines(gram: FloatArray, coefficients: FloatArray) -> FloatArray:
    """[K], the cosine of each gradient with d = sum_k coefficients_k g_k.

    ``gram`` [K, K] is of the raw gradients; ``coefficients`` is [K]. NaN where the gradient is
    zero, and everywhere if d is zero, or so short that rounding decides it.
    """
    norms = np.sqrt(np.diag(gram))
    return cosines_with(gram, norms, coefficients, direction_length(gram, coefficients))


def direction_length(gram: FloatArray, coefficients: FloatArray) -> float:
    """||d|| of d = sum_k coefficients_k g_k; 0 if the gradients cancel, so that d is rounding.

    They do where ||d|| is below :data:`ROUNDING` times sum_k |coefficients_k| ||g_k||.
    """
    squared_length = float(coefficients @ gram @ coefficients)
    terms = float(np.abs(coefficients) @ np.sqrt(np.diag(gram)))
    return float(np.sqrt(squared_length)) if squared_length > (ROUNDING * terms) ** 2 else 0.0


def pairwise_cosines(gram: FloatArray) -> FloatArray:
    """[K, K], cosines between the gradients of ``gram`` [K, K]; NaN where one of them is zero."""
    norms = np.sqrt(np.diag(gram))
    return ratios(gram, np.outer(norms, norms))


def half_cosines(parts: PartGrams) -> FloatArray:
    """[K, K], (cos(a_k, b_l) + cos(b_k, a_l)) / 2 of the signals a and b of a batch's two halves.

    Symmetric; the diagonal is the split-half cosine of each reward. NaN where a signal is zero.
    """
    first, second = (np.sqrt(np.diag(half)) for half in (parts.first, parts.second))
    cosines = ratios(parts.cross, np.outer(first, second))
    halves: FloatArray = (cosines + cosines.T) / 2.0
    return halves


def signal_norms(parts: PartGrams) -> FloatArray:
    """[K], the norms of the signals a_k + b_k; rounding may leave a square below 0."""
    return np.sqrt(np.maximum(np.diag(parts.signal), 0.0))
