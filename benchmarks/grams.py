"""Families of difficult Gram matrices for the min-norm problem; tests use them, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Family = Callable[[np.random.Generator, int], FloatArray]
"""(generator, K) -> points [K, D]."""


def random_points(rng: np.random.Generator, count: int) -> FloatArray:
    """Isotropic points, in fewer or more dimensions than points."""
    return rng.normal(size=(count, int(rng.integers(2, 3 * count + 2))))


def high_dimensional(rng: np.random.Generator, count: int) -> FloatArray:
    """Isotropic points in many dimensions with a common part, like gradients of a network."""
    points: FloatArray = rng.normal(size=(count, 40 * count)) + rng.normal(size=40 * count)
    return points


def near_parallel(rng: np.random.Generator, count: int) -> FloatArray:
    """The same point with noise of 1e-10 to 0.1."""
    spread = 10.0 ** rng.uniform(-10, -1)
    return np.ones((count, 5)) + spread * rng.normal(size=(count, 5))


def opposite(rng: np.random.Generator, count: int) -> FloatArray:
    """Pairs whose sums are nearly zero."""
    half = random_points(rng, count // 2 + 1)
    noise = 10.0 ** rng.uniform(-10, -1) * rng.normal(size=half.shape)
    return np.concatenate([half, noise - half])[-count:]


def exactly_opposite(rng: np.random.Generator, count: int) -> FloatArray:
    """Pairs whose sums are zero."""
    half = random_points(rng, count // 2 + 1)
    return np.concatenate([half, -half])[:count]


def duplicates(rng: np.random.Generator, count: int) -> FloatArray:
    """Points of which some are the same: about half of them are different."""
    points = random_points(rng, count // 2 + 1)
    return points[rng.integers(0, len(points), size=count)]


def rank_deficient(rng: np.random.Generator, count: int) -> FloatArray:
    """Points of a rank of at most about half their number."""
    rank = int(rng.integers(1, count // 2 + 2))
    product: FloatArray = rng.normal(size=(count, rank)) @ rng.normal(size=(rank, 2 * count))
    return product


def sharp_conflict(rng: np.random.Generator, count: int) -> FloatArray:
    """Points with a small common part of 1e-7 to 0.1; the sum of the rest is zero."""
    common = 10.0 ** rng.uniform(-7, -1)
    around = rng.normal(size=(count, count + 1))
    around -= around.mean(axis=0) if count > 1 else 0.0
    around /= np.linalg.norm(around, axis=1, keepdims=True)
    return np.column_stack([around, np.full(count, common)])


def nearly_tied(rng: np.random.Generator, count: int) -> FloatArray:
    """Points that may be the one before them or its opposite, with noise of 1e-12 to 0.01."""
    points = random_points(rng, count)
    for row in range(1, count):
        if rng.random() < 0.5:
            sign = rng.choice([-1.0, 1.0])
            noise = 10.0 ** rng.uniform(-12, -2) * rng.normal(size=points.shape[1])
            points[row] = sign * points[row - 1] + noise
    return points


FAMILIES: Mapping[str, Family] = {
    family.__name__: family
    for family in (
        random_points,
        high_dimensional,
        near_parallel,
        opposite,
        exactly_opposite,
        duplicates,
        rank_deficient,
        sharp_conflict,
        nearly_tied,
    )
}


@dataclass(frozen=True)
class Case:
    """One problem."""

    family: str
    gram: FloatArray
    """[K, K], of points with norm 1."""


def unit_gram(points: FloatArray) -> FloatArray:
    """[K, K], the Gram matrix of ``points`` [K, D] scaled to norm 1."""
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    gram: FloatArray = unit @ unit.T
    return gram


def suite(count: int, sizes: tuple[int, ...], seed: int) -> Iterator[Case]:
    """At least ``count`` cases drawn from ``seed``, the same number of every family and size."""
    rng = np.random.default_rng(seed)
    for _ in range(-(-count // (len(FAMILIES) * len(sizes)))):
        for name, family in FAMILIES.items():
            for size in sizes:
                yield Case(name, unit_gram(family(rng, size)))
