"""Measured batches made of known vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from marblecli.conflicts.record import (
    ConflictRecord,
    Cosines,
    FreshRecord,
    Matrix,
    PartsRecord,
    SliceRecord,
    to_matrix,
)
from marblecli.types import FloatArray

Vectors = ArrayLike
"""[K, d], one vector for each reward."""


def record_of(
    first: Vectors,
    second: Vectors,
    pull: Vectors | None = None,
    *,
    names: Sequence[str] = "ab",
    step: int = 1,
    coefficients: Sequence[float] | None = None,
    cosines: Cosines | None = None,
    signal_cosines: Cosines | None = None,
    fresh: tuple[Vectors, Vectors, Vectors] | None = None,
    slices: Mapping[str, Vectors] | None = None,
) -> ConflictRecord:
    """A batch whose halves have the signals ``first`` and ``second``, and a ``pull``.

    ``fresh`` is (signal of one half, signal of the other, pull) of new images; ``slices`` are
    signals by name.
    """
    one, other = _array(first), _array(second)
    pulled = np.zeros_like(one) if pull is None else _array(pull)
    signal, whole = one + other, one + other + pulled
    count = len(one)
    return ConflictRecord(
        step=step,
        rewards=tuple(names),
        valid=(4,) * count,
        norms=_norms(whole),
        gram=_products(whole, whole),
        simplex_weights=(1.0 / count,) * count,
        coefficients=tuple(coefficients or (1.0,) * count),
        cosines=cosines or {},
        signal_cosines=signal_cosines or {},
        parts=PartsRecord(
            first=_products(one, one),
            second=_products(other, other),
            cross=_products(one, other),
            pull=_products(pulled, pulled),
            signal_pull=_products(signal, pulled),
        ),
        slices={
            name: SliceRecord(_norms(_array(part)), _products(_array(part), whole))
            for name, part in (slices or {}).items()
        },
        fresh=None if fresh is None else _fresh(fresh, whole),
    )


def noisy_records(
    cosine: float, strength: float, batches: int, seed: int = 0, shared: float = 0.0
) -> list[ConflictRecord]:
    """Batches of two rewards in 1000 dimensions, whose true gradients have that ``cosine``.

    ``strength`` is signal over noise. ``shared`` is how much of one reward's noise the other has
    too, because both score the same images.
    """
    rng = np.random.default_rng(seed)
    size = 1000
    true = np.zeros((2, size))
    true[0, 0], true[1, :2] = 1.0, (cosine, np.sqrt(1.0 - cosine**2))
    mixing = np.linalg.cholesky(np.array([[1.0, shared], [shared, 1.0]]))

    def half() -> FloatArray:
        drawn: FloatArray = strength * true + mixing @ rng.normal(size=(2, size)) / np.sqrt(size)
        return drawn

    return [record_of(half(), half(), step=step + 1) for step in range(batches)]


def _fresh(parts: tuple[Vectors, Vectors, Vectors], whole: FloatArray) -> FreshRecord:
    one, other, pull = map(_array, parts)
    signal = one + other
    return FreshRecord(
        norms=_norms(signal + pull),
        products=_products(signal + pull, whole),
        signal_norms=_norms(signal),
        signal_products=_products(signal, whole),
        cross=_products(one, other),
        cosines={},
        signal_cosines={},
    )


def _array(vectors: Vectors) -> FloatArray:
    return np.asarray(vectors, dtype=np.float64)


def _products(one: FloatArray, other: FloatArray) -> Matrix:
    return to_matrix(one @ other.T)


def _norms(vectors: FloatArray) -> tuple[float, ...]:
    return tuple(np.linalg.norm(vectors, axis=1).tolist())
