"""What measured batches can tell in spite of their noise: intervals, and cosines without noise.

A batch's gradient is what all batches share plus noise. Noise pulls a cosine between two rewards'
gradients to zero. Since both rewards score the same images, it also pulls the cosine to how these
images happen to agree. The signals a and b of a batch's two halves are made of different prompts,
so their noises are independent and don't bias the mean over batches of cos(a_k, b_l).

Sources: Spearman 1904 (the correction for attenuation); Efron 1979 (the bootstrap); Hesterberg
2015, The American Statistician 69 (percentiles widened for few observations).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from marblecli.types import FloatArray

LEVEL = 0.95
"""The confidence of every interval."""
MIN_BATCHES = 6
"""There is no interval for fewer batches: they agree by chance too often."""

_DRAWS = 2000
_SEED = 0


@dataclass(frozen=True)
class Estimate:
    """A mean over batches, and the bounds of its interval."""

    value: float
    """NaN without a batch, or where noise leaves nothing to be measured."""
    low: float
    high: float
    """Both bounds are NaN for fewer than :data:`MIN_BATCHES` batches."""

    @property
    def sign(self) -> int:
        """1 or -1 where the whole interval lies on that side of zero; 0: not significant."""
        return int(self.low > 0.0) - int(self.high < 0.0)


NOTHING = Estimate(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class SharedSignal:
    """What the K rewards' gradients of different prompts have in common."""

    reliability: tuple[Estimate, ...]
    """K, the cosine between the halves' signals of one reward: 0 is all noise, 1 is no noise."""
    corrected: tuple[tuple[Estimate, ...], ...]
    """K x K, the cosines between the shared parts of two rewards' gradients; :data:`NOTHING` where
    the reliability of one of them isn't significantly above 0."""


def estimate_means(values: FloatArray) -> tuple[Estimate, ...]:
    """The mean of every column of ``values`` [batches, M] and its interval; NaNs are left out."""
    means, resampled, counts = _bootstrap(values)
    return tuple(
        Estimate(float(mean), *_interval(draws, int(count)))
        for mean, draws, count in zip(means, resampled.T, counts, strict=True)
    )


def shared_signal(halves: FloatArray) -> SharedSignal:
    """The shared signal, from the cosines between the halves [batches, K, K] of a run.

    See :func:`marblecli.conflicts.vectors.half_cosines`. With C the mean over batches, the
    corrected cosine is C_kl / sqrt(C_kk C_ll), clipped to [-1, 1] (Spearman 1904). Both halves are
    normalised in every batch, so that no batch counts more because its gradients are longer.
    """
    count = halves.shape[1]
    means, resampled, counts = _bootstrap(halves.reshape(len(halves), count * count))
    mean, draws = means.reshape(count, count), resampled.reshape(-1, count, count)
    batches = counts.reshape(count, count)
    reliability = tuple(
        Estimate(float(mean[k, k]), *_interval(draws[:, k, k], int(batches[k, k])))
        for k in range(count)
    )

    def corrected(k: int, el: int) -> Estimate:
        if min(reliability[k].sign, reliability[el].sign) < 1:
            return NOTHING
        ratios = _disattenuated(draws[:, k, el], draws[:, k, k], draws[:, el, el])
        value = _disattenuated(mean[k, el], mean[k, k], mean[el, el])
        return Estimate(float(value), *_interval(ratios, int(batches[k, el])))

    rows = (tuple(corrected(k, el) for el in range(count)) for k in range(count))
    return SharedSignal(reliability, tuple(rows))


def _disattenuated(cross: FloatArray, one: FloatArray, other: FloatArray) -> FloatArray:
    """Cross / sqrt(one * other), clipped to [-1, 1].

    A resampled mean may be negative and have no root: the ratio is then -1 or 1, as ``cross`` is.
    """
    scale = np.sqrt(np.maximum(one, 0.0) * np.maximum(other, 0.0))
    with np.errstate(invalid="ignore"):
        bounded: FloatArray = cross / np.maximum(scale, np.abs(cross))
    return bounded


def _bootstrap(values: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Means [M] of the columns, means [draws, M] over resampled rows, and counts [M] of numbers."""
    measured = values[~np.isnan(values).all(axis=1)]
    there = ~np.isnan(measured)
    counts: FloatArray = there.sum(axis=0)
    if not len(measured):
        nothing = np.full(values.shape[1], np.nan)
        return nothing, nothing[None], counts
    filled = np.where(there, measured, 0.0)
    weights = _resamplings(len(measured))
    with np.errstate(invalid="ignore"):  # 0 / 0 where no number was drawn
        return filled.sum(axis=0) / counts, weights @ filled / (weights @ there), counts


@lru_cache(maxsize=4)
def _resamplings(batches: int) -> FloatArray:
    """[draws, batches], how often each batch is in each resampling."""
    rng = np.random.default_rng(_SEED)
    drawn = rng.multinomial(batches, np.full(batches, 1.0 / batches), size=_DRAWS)
    return drawn.astype(np.float64)


def _interval(draws: FloatArray, batches: int) -> tuple[float, float]:
    if batches < MIN_BATCHES:
        return float("nan"), float("nan")
    tail = _tail(batches)
    low, high = np.nanquantile(draws, [tail, 1.0 - tail])
    return float(low), float(high)


def _tail(batches: int) -> float:
    """The percentile that gives, for a normal mean, the interval of Student's t."""
    quantile = _student_quantile((1.0 + LEVEL) / 2.0, batches - 1)
    return NormalDist().cdf(-quantile * math.sqrt(batches / (batches - 1)))


def _student_quantile(probability: float, freedom: int) -> float:
    """The quantile of Student's t, to 0.003 from 5 degrees on: Abramowitz and Stegun 1964, 26.7.5.

    SciPy has it too, but importing SciPy takes longer than the whole command does.
    """
    z = NormalDist().inv_cdf(probability)
    quantile: float = (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
    return quantile
