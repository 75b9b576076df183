"""The min-norm point of a convex hull, from the Gram matrix of its points, with a certificate.

MGDA (Désidéri 2012, section 2; MARBLE, arXiv 2605.06507, the balancing step) asks for

    min_w  wᵀ G w   subject to  w >= floors,  sum(w) = 1,        G_kl = <g_k, g_l>.

With priorities p the hull is that of the points g_k / p_k, whose nearest point d to zero has
<g_k, d> >= p_k ||d||² for every k: of unit gradients, d has the largest min_k cos(g_k, d) / p_k.

A solver proposes weights; :func:`certify` says what any weights are worth, whoever found them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from marblecli.errors import BadInputError

if TYPE_CHECKING:
    from marblecli.types import FloatArray

ROUNDING = 1e-15
"""What float64 can't tell from zero in one entry of a Gram, relative to its scale; K of them
together make sqrt(K) times as much."""
_ASYMMETRY = 1e-6
_INDEFINITENESS = 1e-3
"""Relative; what rounding to three digits in a file may do."""

Candidates = Callable[["FloatArray"], Iterator["FloatArray"]]
"""A Gram [K, K] -> weights [K] on the simplex, from the quickest to the surest; at least one."""


@dataclass(frozen=True)
class MinNormSolution:
    """Weights and what they are worth, computed from the Gram and the weights alone."""

    weights: FloatArray
    """[K], on the simplex, at least the floors."""
    squared_norm: float
    """wᵀ G w, in the Gram's own scale."""
    duality_gap: float
    """Bound on how far the square is above the least possible, over the largest G_kk."""
    kkt_residual: float
    """Largest violation of the optimality conditions; slacks over the largest G_kk."""


def certify(
    gram: FloatArray,
    weights: FloatArray,
    floors: FloatArray | None = None,
    priorities: FloatArray | None = None,
) -> MinNormSolution:
    """How good ``weights`` [K] are for ``gram`` [K, K], whoever found them.

    Floors f and priorities p make a hull of the points z_k = sum_l T_lk g_l / (Tᵀp)_k, with
    T = f 1ᵀ + (1 - sum f) I; w is the share c_k of each and d = sum_k w_k g_k / pᵀw its point.
    It is optimal if and only if c >= 0, sum(w) = 1 and <z_k, d> >= ||d||² with equality where
    c_k > 0. The residual is the largest |min(c_k, <z_k, d> - ||d||²)|, or the error of the sum if
    that is larger; the gap is the Frank-Wolfe gap 2 (||d||² - min_k <z_k, d>).
    """
    scale = gram_scale(gram)
    if floors is None and priorities is None:
        shares, products = weights, gram @ weights / scale
        attained = squared_norm = float(weights @ products)
    else:
        floors = check_floors(floors, len(gram))
        priorities = check_priorities(priorities, len(gram))
        free, length = 1.0 - floors.sum(), priorities @ weights
        lengths = floors @ priorities + free * priorities
        shares = (weights - floors) * lengths / (free * length)
        combined = gram @ weights / (scale * length)
        products = (floors @ combined + free * combined) / lengths
        attained = float(weights @ combined / length)
        squared_norm = attained * float(length) ** 2
    violations = np.abs(np.minimum(shares, products - attained))
    residual = max(float(violations.max()), abs(float(weights.sum()) - 1.0))
    return MinNormSolution(
        weights=weights,
        squared_norm=squared_norm * scale,
        duality_gap=max(0.0, 2.0 * (attained - float(products.min()))),
        kkt_residual=residual if residual >= 0.0 else np.inf,  # NaN is nowhere near
    )


def check_gram(gram: FloatArray) -> FloatArray:
    """The Gram as float64 [K, K], made exactly symmetric.

    Raises BadInputError if it's empty, not square, not finite, not symmetric or not positive
    semidefinite, beyond what rounding explains.
    """
    gram = np.asarray(gram, dtype=np.float64)
    if gram.size == 0:
        raise BadInputError("the Gram matrix is empty: it needs a row for each reward")
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1]:
        raise BadInputError(f"the Gram matrix isn't square: its shape is {list(gram.shape)}")
    scale = float(np.abs(gram).max())
    if not np.isfinite(scale):
        row, column = (int(index) for index in np.argwhere(~np.isfinite(gram))[0])
        value = gram[row, column]
        raise BadInputError(f"the Gram matrix has {value} in row {row + 1}, column {column + 1}")
    scale = scale or 1.0
    if (asymmetry := float(np.abs(gram - gram.T).max()) / scale) > _ASYMMETRY:
        raise BadInputError(
            f"the Gram matrix isn't symmetric: mirrored entries differ by {asymmetry:.1e} "
            "of its largest entry"
        )
    symmetric: FloatArray = (gram + gram.T) / 2.0 if asymmetry else gram
    if (smallest := float(np.linalg.eigvalsh(symmetric / scale)[0])) < -_INDEFINITENESS:
        raise BadInputError(
            "the matrix is no Gram matrix of any gradients: "
            f"its smallest eigenvalue is {smallest:.1e} of its largest entry"
        )
    return symmetric


def check_floors(floors: FloatArray | None, count: int) -> FloatArray:
    """The floors as float64 [count], zero where none were given.

    Raises BadInputError if they are negative, not finite, too many or too few, or sum to 1 or more.
    """
    if floors is None:
        return np.zeros(count)
    floors = np.asarray(floors, dtype=np.float64)
    if floors.shape != (count,):
        raise BadInputError(f"{floors.size} floors were given for {count} rewards")
    if not np.isfinite(floors).all() or (floors < 0.0).any():
        raise BadInputError(f"floors must be 0 or more, not {floors.min():g}")
    if floors.sum() >= 1.0:
        raise BadInputError(f"floors must sum to less than 1, not {floors.sum():g}")
    return floors


def check_priorities(priorities: FloatArray | None, count: int) -> FloatArray:
    """The priorities as float64 [count], the least of them 1; all 1 where none were given.

    Raises BadInputError if they are not above 0, not finite, or too many or too few.
    """
    if priorities is None:
        return np.ones(count)
    priorities = np.asarray(priorities, dtype=np.float64)
    if priorities.shape != (count,):
        raise BadInputError(f"{priorities.size} priorities were given for {count} rewards")
    if not np.isfinite(priorities).all() or (priorities <= 0.0).any():
        raise BadInputError(f"priorities must be above 0, not {priorities.min():g}")
    scaled: FloatArray = priorities / priorities.min()
    return scaled


def gram_scale(gram: FloatArray) -> float:
    """The largest squared norm of a Gram [K, K], or 1 where all are zero."""
    return float(gram.diagonal().max()) or 1.0


def solve(
    gram: FloatArray,
    floors: FloatArray | None,
    priorities: FloatArray | None,
    candidates: Candidates,
) -> MinNormSolution:
    """The first candidate for the points z_k of :func:`certify` that is optimal to rounding.

    ``gram`` [K, K]; ``floors`` [K], lower bounds of the weights with a sum below 1, or none;
    ``priorities`` [K] above 0, of which only the ratios matter, or none.

    Raises BadInputError if ``gram`` is no Gram matrix, or floors or priorities can't be met.
    """
    gram = check_gram(gram)
    if floors is None and priorities is None:
        return _first_exact(gram, candidates)
    floors = check_floors(floors, len(gram))
    priorities = check_priorities(priorities, len(gram))
    mixing = floors[:, None] + (1.0 - floors.sum()) * np.eye(len(gram))
    points = mixing / (priorities @ mixing)
    weights = points @ _first_exact(points.T @ gram @ points, candidates).weights
    return certify(gram, weights / weights.sum(), floors, priorities)


def _first_exact(gram: FloatArray, candidates: Candidates) -> MinNormSolution:
    """The best of the candidates if none is optimal to rounding."""
    rounding = ROUNDING * len(gram) ** 0.5
    solutions = (certify(gram, weights) for weights in candidates(gram))
    best = next(solutions)
    while best.kkt_residual > rounding and (other := next(solutions, None)) is not None:
        best = min(best, other, key=attrgetter("kkt_residual"))
    return best
