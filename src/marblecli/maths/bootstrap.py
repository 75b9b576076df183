"""Percentile bootstrap of a mean over items in clusters, such as images of the same prompt.

Source: Efron 1979 (the bootstrap); Davison and Hinkley 1997, section 3.8 (clustered data).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from marblecli.types import FloatArray, IntArray


def bootstrap_interval(
    values: FloatArray,
    clusters: IntArray,
    resample: Literal["clusters", "within"],
    rng: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """(mean, low, high): the mean of ``values`` [n], and its interval at confidence ``level``.

    ``clusters`` [n] is each value's cluster, any integers. ``resample = "clusters"`` draws whole
    clusters: the interval is for other prompts. ``"within"`` draws items inside each cluster: it is
    for other noise on the same prompts. Raises ValueError if there are no values.
    """
    if len(values) == 0:
        raise ValueError("no values to bootstrap")
    _, cluster_of, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    if resample == "clusters":
        sums = np.bincount(cluster_of, weights=values)
        chosen = rng.integers(0, len(sizes), size=(draws, len(sizes)))
        means = sums[chosen].sum(axis=1) / sizes[chosen].sum(axis=1)
    else:
        by_cluster = values[np.argsort(cluster_of, kind="stable")]
        first = np.repeat(np.cumsum(sizes) - sizes, sizes)
        offsets = rng.integers(0, np.repeat(sizes, sizes), size=(draws, len(values)))
        means = by_cluster[first + offsets].mean(axis=1)
    low, high = np.quantile(means, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(values.mean()), float(low), float(high)
