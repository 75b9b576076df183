"""K gradients -> their Gram matrix, in float64 whatever the gradients' own precision.

A single float32 matmul over 19 million elements errs by 4e-3 on the diagonal; chunks accumulated
in float64 err by 8e-6 or less.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from marblecli.types import BoolArray, FloatArray, GradientStats, PartGrams

_CHUNK = 2**18


def gram_matrix(blocks: Iterable[Tensor]) -> FloatArray:
    """Sum over blocks of G G^T: each block is [K, ...], one parameter's K gradients -> [K, K]."""
    return _accumulate((block, block) for block in blocks)


def inner_products(blocks: Iterable[Tensor], direction: Iterable[Tensor]) -> FloatArray:
    """<g_k, direction>, [K]: blocks [K, ...] against tensors of the parameters' shapes [...]."""
    return cross_products(blocks, (part[None] for part in direction))[:, 0]


def cross_products(blocks: Iterable[Tensor], others: Iterable[Tensor]) -> FloatArray:
    """<f_k, g_l>, [K, L]: blocks [K, ...] against blocks [L, ...] of the same parameters."""
    return _accumulate(zip(blocks, others, strict=True))


def gradient_stats(names: Sequence[str], gram: FloatArray, counts: Sequence[int]) -> GradientStats:
    """The Gram [K, K] of the usable gradients, and which are.

    A gradient that is zero, not finite, or whose reward applied to no image (``counts`` [K]) is
    masked: its row and column are zero and ``usable`` is false. It is never averaged in.
    """
    usable = _usable(gram, np.asarray(counts))
    masked = np.where(np.outer(usable, usable), gram, 0.0)
    return GradientStats(tuple(names), masked, usable)


def whole_gram(gram: FloatArray, count: int) -> FloatArray:
    """[K, K] of vectors that are sums of parts, from the Gram [P K, P K] of all parts, K at a time.

    ``count`` is K.
    """
    whole: FloatArray = gram.reshape(-1, count, len(gram) // count, count).sum((0, 2))
    return whole


def part_grams(gram: FloatArray, usable: BoolArray) -> PartGrams:
    """The Grams between three parts of K gradients, from that of all of them, [3K, 3K].

    The order of the rows is: K signals of one half, K of the other, K pulls. Unusable rewards
    (``usable`` [K]) are masked.
    """
    count = len(usable)
    blocks = gram.reshape(3, count, 3, count).swapaxes(1, 2)
    masked = np.where(np.outer(usable, usable), blocks, 0.0)
    return PartGrams(
        first=masked[0, 0],
        second=masked[1, 1],
        cross=masked[0, 1],
        pull=masked[2, 2],
        signal_pull=masked[0, 2] + masked[1, 2],
    )


def _usable(gram: FloatArray, counts: np.ndarray) -> BoolArray:
    squared_norms = np.diag(gram)
    return np.isfinite(squared_norms) & (squared_norms > 0.0) & (counts > 0)


def _accumulate(pairs: Iterable[tuple[Tensor, Tensor]]) -> FloatArray:
    total: Tensor | None = None
    for left, right in pairs:
        flat_left, flat_right = left.detach().flatten(1), right.detach().flatten(1)
        chunks = zip(
            torch.split(flat_left, _CHUNK, 1), torch.split(flat_right, _CHUNK, 1), strict=True
        )
        for a, b in chunks:
            part = a.to(torch.float64) @ b.to(torch.float64).T
            total = part if total is None else total + part
    if total is None:
        raise ValueError("no gradient blocks: the policy has no trained parameters")
    return total.cpu().numpy()
