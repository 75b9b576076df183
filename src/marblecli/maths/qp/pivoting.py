"""Block principal pivoting: guess the face of the hull, solve on it, and mend the guess.

Source: Júdice and Pires 1994, the block algorithm.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from marblecli.maths.qp.faces import even, polish
from marblecli.maths.qp.problem import ROUNDING, gram_scale

if TYPE_CHECKING:
    from marblecli.types import FloatArray

RIDGES = (1e-9, 1e-12, 1e-15)
"""Relative; they split ties evenly, and are polished away afterwards. The smaller ones are for what
is near a tie and yet none."""
_PIVOTINGS = 50
"""Faces tried before the pivoting is taken to cycle; at K = 64 about 6 are needed."""
_PATIENCE = 3
"""Pivotings that needn't leave fewer violations (Júdice and Pires)."""


def by_pivoting(gram: FloatArray) -> Iterator[FloatArray]:
    """[K], the optimum if no other is near; if there may be, the most even on its face first.

    Where w = u / norms, the conditions read, up to a factor, Ĝu >= c with equality where u > 0:
    Ĝ the Gram of the unit points, c their inverse norms.
    """
    norms = np.sqrt(gram.diagonal())
    unit, costs = gram / (norms[:, None] * norms), norms.min() / norms
    definite = _is_definite(unit)
    for ridge in (0.0,) if definite else RIDGES:
        solved = _pivot(unit + ridge * np.eye(len(unit)) if ridge else unit, costs)
        if solved is None:
            continue
        weights = solved / norms
        weights /= weights.sum()
        if not definite:
            scaled = gram / gram_scale(gram)
            yield from polish(scaled, even(weights))
            yield from polish(scaled, weights)
        yield weights


def _is_definite(unit: FloatArray) -> bool:
    """Whether there is one optimum only, by a margin far above rounding."""
    try:
        pivots = np.linalg.cholesky(unit).diagonal()
    except np.linalg.LinAlgError:
        return False
    return bool(pivots.min() ** 2 > RIDGES[0])


def _pivot(unit: FloatArray, costs: FloatArray) -> FloatArray | None:
    """[K], u of the conditions above; None if rounding makes it cycle.

    What violates them changes sides, all at once while that helps, else the last alone.
    """
    inside = np.ones(len(unit), dtype=bool)
    fewest, patience = len(unit) + 1, _PATIENCE
    for _ in range(_PIVOTINGS):
        face = inside.nonzero()[0]
        try:
            solved = np.linalg.solve(unit[face[:, None], face], costs[face])
        except np.linalg.LinAlgError:
            return None
        slacks = unit[:, face] @ solved - costs + ROUNDING * np.abs(solved).sum()
        slacks[face] = solved
        wrong = (slacks < 0.0).nonzero()[0]
        if len(wrong) == 0:
            return np.where(inside, slacks, 0.0)
        if len(wrong) < fewest:
            fewest, patience = len(wrong), _PATIENCE
        else:
            patience -= 1
        changing = wrong if patience >= 0 else wrong[-1:]
        inside[changing] = ~inside[changing]
    return None
