"""Methods on batches made of known gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from marblecli.methods.host import own_methods
from marblecli.methods.schedule import combine
from marblecli.types import Balance, FloatArray, GradientStats

METHODS = tuple(name for one in own_methods() for name in (one.spec.name, *one.spec.aliases))
"""Every name of ours, aliases included."""


def stats_of(gradients: ArrayLike, usable: ArrayLike | None = None) -> GradientStats:
    """Of gradients [K, d], the rewards called reward-0, reward-1, ...; all usable by default."""
    vectors = np.asarray(gradients, dtype=float)
    there = np.ones(len(vectors), dtype=bool) if usable is None else np.array(usable)
    vectors = np.where(there[:, None], vectors, 0.0)
    names = tuple(f"reward-{number}" for number in range(len(vectors)))
    return GradientStats(names, vectors @ vectors.T, there)


def different_norms(seed: int, count: int) -> FloatArray:
    """[count, count + 3], random gradients whose norms differ up to 30-fold."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, count + 3)) * 30.0 ** rng.random((count, 1))


def choose(
    method: str, stats: GradientStats, loss_weights: ArrayLike | None = None, **options: Any
) -> Balance:
    """What a method makes of a batch; arrays [K] of options are by reward, in order.

    The method that needs a reward follows the first, unless the options name one.
    """
    weights = np.ones(len(stats.names)) if loss_weights is None else np.asarray(loss_weights)
    by_name = {
        key: dict(zip(stats.names, value.tolist(), strict=True))
        if isinstance(value, np.ndarray)
        else value
        for key, value in options.items()
    }
    return combine(stats, method, weights, **{"reward": "reward-0", **by_name})
