"""Measured batches made of known vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from marblecli.types import ConflictRecord, FreshRecord, SliceRecord


def _matrix(one, other):
    return tuple(map(tuple, (one @ other.T).tolist()))


def _norms(vectors):
    return tuple(np.linalg.norm(vectors, axis=1).tolist())


def make_record(
    first,
    second,
    pull=None,
    *,
    names="ab",
    step=1,
    coefficients=None,
    cosines: Mapping = {},
    signal_cosines: Mapping = {},
    fresh=None,
    slices: Mapping = {},
) -> ConflictRecord:
    """A batch whose halves have the signals ``first`` and ``second`` [K, d], and a ``pull``.

    ``fresh`` is (signal of each half, pull) of new images; ``slices`` are signals by name.
    """
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    pull = np.zeros_like(first) if pull is None else np.asarray(pull, dtype=float)
    signal, whole = first + second, first + second + pull
    count = len(first)
    return ConflictRecord(
        step=step,
        rewards=tuple(names),
        valid=(4,) * count,
        norms=_norms(whole),
        gram=_matrix(whole, whole),
        simplex_weights=(1.0 / count,) * count,
        coefficients=tuple(coefficients or (1.0,) * count),
        cosines=dict(cosines),
        signal_cosines=dict(signal_cosines),
        parts={
            "first": _matrix(first, first),
            "second": _matrix(second, second),
            "cross": _matrix(first, second),
            "pull": _matrix(pull, pull),
            "signal_pull": _matrix(signal, pull),
        },
        slices={
            name: SliceRecord(_norms(part), _matrix(np.asarray(part, dtype=float), whole))
            for name, part in slices.items()
        },
        fresh=None if fresh is None else _fresh(fresh, whole),
    )


def _fresh(parts, whole) -> FreshRecord:
    one, other, pull = (np.asarray(part, dtype=float) for part in parts)
    signal = one + other
    return FreshRecord(
        norms=_norms(signal + pull),
        products=_matrix(signal + pull, whole),
        signal_norms=_norms(signal),
        signal_products=_matrix(signal, whole),
        cross=_matrix(one, other),
        cosines={},
        signal_cosines={},
    )


@pytest.fixture(scope="session")
def record_of() -> Callable[..., ConflictRecord]:
    return make_record


@pytest.fixture(scope="session")
def noisy_records() -> Callable[..., list[ConflictRecord]]:
    """(true cosine, signal to noise, batches, seed) -> batches of two rewards in 1000 dimensions.

    ``shared`` is how much of one reward's noise the other has too, as both score the same images.
    """

    def make(cosine, strength, batches, seed=0, shared=0.0):
        rng = np.random.default_rng(seed)
        size = 1000
        true = np.zeros((2, size))
        true[0, 0], true[1, :2] = 1.0, (cosine, np.sqrt(1.0 - cosine**2))
        mixing = np.linalg.cholesky(np.array([[1.0, shared], [shared, 1.0]]))

        def half():
            return strength * true + mixing @ rng.normal(size=(2, size)) / np.sqrt(size)

        return [make_record(half(), half(), step=step + 1) for step in range(batches)]

    return make
