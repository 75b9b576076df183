"""The noise levels that images are trained at, and the weights that undo how they were drawn.

Rectified flow, whose level t in (0, 1) mixes x_t = (1 - t) x_0 + t noise. Shapes: N images, T noise
levels of each, L levels of a sampler.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit, ndtr, ndtri

from marblecli.types import FloatArray


def grid_levels(grid: FloatArray, images: int, count: int, rng: np.random.Generator) -> FloatArray:
    """[N, T], drawn for each image from ``grid`` [L] without replacement.

    Where ``count`` T is above L, a level is drawn again only after all have been drawn.
    """
    turns = -(-count // len(grid))
    indices = np.tile(np.arange(len(grid)), (images, 1))
    chosen = np.concatenate([rng.permuted(indices, axis=1) for _ in range(turns)], axis=1)
    levels: FloatArray = grid[chosen[:, :count]]
    return levels


def strata(images: int, count: int, rng: np.random.Generator) -> FloatArray:
    """[N, T] numbers in [0, 1): of each image's T one is in each T-th, in random order.

    Each is uniform by itself. As an image's T are never all alike, a mean over them is less noisy
    than one over independent numbers, and has the same expectation.
    """
    order = rng.permuted(np.tile(np.arange(count), (images, 1)), axis=1)
    return (order + rng.random((images, count))) / count


def uniform_levels(quantiles: FloatArray, low: float, high: float) -> FloatArray:
    """The levels of these quantiles of the uniform distribution between ``low`` and ``high``."""
    return low + (high - low) * quantiles


def logit_normal_levels(
    quantiles: FloatArray, low: float, high: float, mean: float, std: float
) -> FloatArray:
    """The levels of these quantiles of the logit-normal distribution between ``low`` and ``high``.

    Its logit is normal with ``mean`` and ``std`` (Esser et al. 2024, arXiv 2403.03206, section
    3.1); it is cut off outside the range and renormalised.
    """
    first, last = _normal_share(low, mean, std), _normal_share(high, mean, std)
    levels = expit(mean + std * ndtri(first + (last - first) * quantiles))
    # Rounding may lead out of the range, where the density that the weights divide by is 0.
    return np.clip(levels, low, high)


def uniform_over_logit_normal(
    levels: FloatArray, low: float, high: float, mean: float, std: float
) -> FloatArray:
    """The density of the uniform distribution over that of :func:`logit_normal_levels`.

    A row's loss times this weight has the expectation that it has at levels drawn uniformly.
    """
    share = _normal_share(high, mean, std) - _normal_share(low, mean, std)
    standard = (logit(levels) - mean) / std
    normal = np.exp(-(standard**2) / 2) / (std * np.sqrt(2 * np.pi))
    density = normal / (levels * (1 - levels)) / share
    ratio: FloatArray = 1 / ((high - low) * density)
    return ratio


def binned_levels(
    quantiles: FloatArray, low: float, high: float, probabilities: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The levels of these quantiles, and the weights that undo how they were drawn.

    The range from ``low`` to ``high`` has B equal bins, which are drawn with ``probabilities`` [B];
    the density within a bin is even. A row's loss times its weight has the expectation that it has
    at levels drawn uniformly.
    """
    count = len(probabilities)
    ends = np.cumsum(probabilities)
    bins = np.minimum(np.searchsorted(ends, quantiles, side="right"), count - 1)
    starts = ends[bins] - probabilities[bins]
    within = np.clip((quantiles - starts) / probabilities[bins], 0.0, 1.0)
    levels: FloatArray = low + (high - low) * (bins + within) / count
    return levels, 1.0 / (count * probabilities[bins])


def bin_probabilities(second_moments: FloatArray, even_share: float) -> FloatArray:
    """[B], in proportion to the roots of ``second_moments`` [B] of the rows' gradients.

    Of all draws whose weights undo them, this one gives the weighted mean over rows the least
    second moment, and so the least variance (importance sampling: Owen, Monte Carlo theory, methods
    and examples, section 9.1). A part ``even_share`` of the probability is the same for all bins,
    which bounds the weights by its inverse (section 9.11, defensive sampling). It is the same for
    all where nothing is known.
    """
    even = np.full(len(second_moments), 1.0 / len(second_moments))
    roots = np.sqrt(second_moments)
    if not roots.sum() > 0.0:
        return even
    probabilities: FloatArray = (1.0 - even_share) * roots / roots.sum() + even_share * even
    return probabilities


def _normal_share(level: float, mean: float, std: float) -> float:
    """The share of the logit-normal distribution that is below ``level`` in [0, 1]."""
    return float(ndtr((logit(level) - mean) / std))
