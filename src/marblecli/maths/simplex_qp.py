"""The min-norm point of a convex hull, from the Gram matrix of its points, with a certificate.

MGDA (Désidéri 2012, section 2; MARBLE, arXiv 2605.06507, the balancing step) asks for

    min_w  wᵀ G w   subject to  w >= floors,  sum(w) = 1,        G_kl = <g_k, g_l>.

The default solver is Wolfe's algorithm (Wolfe 1976, "Finding the nearest point in a polytope"):
it walks over faces of the hull and solves each exactly, so that it ends at rounding, not at a
tolerance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import numpy as np

from marblecli.errors import BadInputError, MarbleError

if TYPE_CHECKING:
    from marblecli.types import FloatArray

_ROUNDING = 1e-15
"""What float64 can't tell from zero in one entry of a Gram, relative to its scale; K of them
together make sqrt(K) times as much."""
_POINT_ROUNDING = 1e-14
"""A distance between points of norm about 1, made from their Gram, that is rounding."""
_RIDGE = 1e-9
"""Relative; splits ties evenly, and is polished away afterwards."""
_ASYMMETRY = 1e-6
_INDEFINITENESS = 1e-3
"""Relative; what rounding to three digits in a file may do."""


@dataclass(frozen=True)
class MinNormSolution:
    """Weights and what they are worth, computed from the Gram and the weights alone."""

    weights: FloatArray
    """[K], on the simplex, at least the floors."""
    squared_norm: float
    """wᵀ G w, in the Gram's own scale."""
    duality_gap: float
    """Bound on how far ``squared_norm`` is above the least possible, over the largest G_kk."""
    kkt_residual: float
    """Largest violation of the optimality conditions; slacks over the largest G_kk."""


class Solver(Protocol):
    """[K, K] Gram and [K] lower bounds of the weights -> solution."""

    def __call__(self, gram: FloatArray, floors: FloatArray | None = None) -> MinNormSolution: ...


def solve_min_norm(gram: FloatArray, floors: FloatArray | None = None) -> MinNormSolution:
    """The simplex weights of least wᵀGw, exact to rounding; ties give the even mixture.

    ``gram`` [K, K]; ``floors`` [K], lower bounds of the weights with a sum below 1, or none.
    With w = T u, T = f 1ᵀ + (1 - sum f) I, the floored problem is the plain one for the points
    that T mixes, whose Gram is Tᵀ G T.

    Raises BadInputError if ``gram`` is no Gram matrix or ``floors`` can't be met.
    Source: Wolfe 1976, sections 3 and 4.
    """
    gram = check_gram(gram)
    floors = check_floors(floors, len(gram))
    mixing = floors[:, None] + (1.0 - floors.sum()) * np.eye(len(gram))
    weights = mixing @ _simplex_weights(mixing.T @ gram @ mixing)
    return certify(gram, weights, floors)


def solve_min_norm_cvxpy(gram: FloatArray, floors: FloatArray | None = None) -> MinNormSolution:
    """The same problem by cvxpy's interior-point solver; as exact as that is (see the residual).

    Shapes and errors as in :func:`solve_min_norm`; MarbleError if the solver gives up.
    """
    import cvxpy

    gram = check_gram(gram)
    floors = check_floors(floors, len(gram))
    eigenvalues, eigenvectors = np.linalg.eigh(gram / _scale(gram))
    factor = eigenvectors * np.sqrt(np.maximum(eigenvalues, 0.0))
    variable = cvxpy.Variable(len(gram))
    problem = cvxpy.Problem(
        cvxpy.Minimize(cvxpy.sum_squares(factor.T @ variable)),
        [variable >= floors, cvxpy.sum(variable) == 1.0],
    )
    try:
        problem.solve(solver=cvxpy.CLARABEL, tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12)
    except cvxpy.error.SolverError as error:
        raise MarbleError(f"cvxpy failed on the min-norm problem: {error}") from error
    if variable.value is None:
        raise MarbleError(f"cvxpy found no solution of the min-norm problem: {problem.status}")
    surplus = np.maximum(np.asarray(variable.value, dtype=np.float64) - floors, 0.0)
    return certify(gram, floors + (1.0 - floors.sum()) * surplus / surplus.sum(), floors)


SOLVERS: Mapping[str, Solver] = MappingProxyType(
    {"wolfe": solve_min_norm, "cvxpy": solve_min_norm_cvxpy}
)


def certify(
    gram: FloatArray, weights: FloatArray, floors: FloatArray | None = None
) -> MinNormSolution:
    """How good ``weights`` [K] are for ``gram`` [K, K], whoever found them.

    With f the floors and y = Gw, w is optimal if and only if w >= f, sum(w) = 1 and, for some mu,
    y_k >= mu with equality where w_k > f_k. The residual is the largest |min(w_k - f_k, y_k - mu)|,
    or the error of the sum if that is larger; mu is the mean of y weighted by w - f. The gap is the
    Frank-Wolfe gap 2 [(w - f)ᵀ y - (1 - sum f) min y].
    """
    floors = np.zeros(len(gram)) if floors is None else floors
    scale = _scale(gram)
    products = gram @ weights / scale
    surplus = weights - floors
    free = 1.0 - floors.sum()
    attained = float(surplus @ products)
    violations = np.abs(np.minimum(surplus, products - attained / free))
    return MinNormSolution(
        weights=weights,
        squared_norm=float(weights @ products) * scale,
        duality_gap=max(0.0, 2.0 * (attained - float(free * products.min()))),
        kkt_residual=float(max(violations.max(), abs(weights.sum() - 1.0))),
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
    if not np.isfinite(gram).all():
        row, column = (int(index) for index in np.argwhere(~np.isfinite(gram))[0])
        value = gram[row, column]
        raise BadInputError(f"the Gram matrix has {value} in row {row + 1}, column {column + 1}")
    scale = float(np.abs(gram).max()) or 1.0
    if (asymmetry := float(np.abs(gram - gram.T).max()) / scale) > _ASYMMETRY:
        raise BadInputError(
            f"the Gram matrix isn't symmetric: mirrored entries differ by {asymmetry:.1e} "
            "of its largest entry"
        )
    symmetric: FloatArray = (gram + gram.T) / 2.0
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


def _scale(gram: FloatArray) -> float:
    return float(np.diag(gram).max()) or 1.0


def _simplex_weights(gram: FloatArray) -> FloatArray:
    """[K], the first of the candidates that is optimal to rounding, or the best of them."""
    gram = gram / _scale(gram)
    rounding = _ROUNDING * np.sqrt(len(gram))
    candidates = (certify(gram, weights) for weights in _candidates(gram))
    best = next(candidates)
    while best.kkt_residual > rounding and (other := next(candidates, None)) is not None:
        best = min(best, other, key=attrgetter("kkt_residual"))
    return best.weights


def _candidates(gram: FloatArray) -> Iterator[FloatArray]:
    eigenvalues, eigenvectors = np.linalg.eigh(gram)
    eigenvalues[eigenvalues <= _ROUNDING * eigenvalues[-1]] = 0.0
    ridged = _wolfe(eigenvectors * np.sqrt(eigenvalues + _RIDGE))
    yield from _polish(gram, (ridged > 0.0) / np.count_nonzero(ridged))
    yield from _polish(gram, ridged)
    plain = _wolfe(eigenvectors * np.sqrt(eigenvalues))
    yield from _polish(gram, plain)
    yield plain


def _polish(gram: FloatArray, weights: FloatArray) -> Iterator[FloatArray]:
    """[K], the optimum of the face that the weights lie on; nothing if it leaves the simplex.

    Newton's step along the directions whose curvature the Gram resolves, and again for rounding;
    the others keep the weights' own share, so that from the even mixture ties stay even.
    """
    support = np.flatnonzero(weights > 0.0)
    face = gram[np.ix_(support, support)]
    basis = _differences(len(support))
    curvatures, vectors = np.linalg.eigh(basis.T @ face @ basis)
    resolved = _ROUNDING * np.sqrt(len(gram)) * max(1.0, curvatures.max(initial=0.0))
    steep = curvatures > resolved
    directions, curvatures = basis @ vectors[:, steep], curvatures[steep]
    polished = np.zeros(len(gram))
    polished[support] = weights[support]
    for _ in range(3):
        slopes = directions.T @ (face @ polished[support])
        polished[support] -= directions @ (slopes / curvatures)
    if polished.min() >= -_ROUNDING:
        feasible = np.maximum(polished, 0.0)
        yield feasible / feasible.sum()


def _wolfe(points: FloatArray) -> FloatArray:
    """[K], Wolfe's major cycle on points [K, D] of norms about 1."""
    squared_norms = np.sum(points**2, axis=1)
    weights = np.zeros(len(points))
    weights[np.argmin(squared_norms)] = 1.0
    for _ in range(50 + 10 * len(points)):  # rounding could make it cycle; few are ever needed
        nearest = points.T @ weights
        products = points @ nearest
        entering = int(np.argmin(products))
        if products[entering] >= nearest @ nearest - _ROUNDING or weights[entering] > 0.0:
            break
        moved = _minor_cycle(points, weights, entering)
        if moved is None:
            break
        weights = moved
    return weights


def _minor_cycle(points: FloatArray, weights: FloatArray, entering: int) -> FloatArray | None:
    """[K], to the minimiser of a face, dropping points until it lies inside; None if stuck."""
    support = np.append(np.flatnonzero(weights > 0.0), entering)
    current = weights[support]
    while True:
        target = _face_minimiser(points[support])
        outside = target <= 0.0
        if not outside.any():
            break
        if outside[-1] and support[-1] == entering and current[-1] == 0.0:
            return None
        ratios = np.where(outside, current, np.inf) / np.where(outside, current - target, 1.0)
        leaving = int(np.argmin(ratios))
        current = np.maximum(current + ratios[leaving] * (target - current), 0.0)
        current[leaving] = 0.0
        kept = current > 0.0
        support, current = support[kept], current[kept] / current[kept].sum()
    moved = np.zeros(len(points))
    moved[support] = target / target.sum()
    return moved


def _face_minimiser(points: FloatArray) -> FloatArray:
    """[K], weights of the min-norm point of the affine hull of points [K, D].

    The most even ones if there are several: the step from the even mixture is the shortest.
    """
    count = len(points)
    basis = _differences(count)
    mean = points.mean(axis=0)
    left, singular, right = np.linalg.svd(points.T @ basis, full_matrices=False)
    kept = singular > _POINT_ROUNDING
    step: FloatArray = right[kept].T @ ((left[:, kept].T @ mean) / singular[kept])
    return np.full(count, 1.0 / count) - basis @ step


@lru_cache(maxsize=128)
def _differences(count: int) -> FloatArray:
    """[K, K - 1], an orthonormal basis of the vectors that sum to zero (Helmert)."""
    basis: FloatArray = np.triu(np.ones((count, count - 1)))
    below = np.arange(1, count)
    basis[below, below - 1] = -below
    normed: FloatArray = basis / np.sqrt(below * (below + 1.0))
    return normed
