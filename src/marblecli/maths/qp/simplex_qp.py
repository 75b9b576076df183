"""The min-norm point of a convex hull, from the Gram matrix of its points, with a certificate.

MGDA (Désidéri 2012, section 2; MARBLE, arXiv 2605.06507, the balancing step) asks for

    min_w  wᵀ G w   subject to  w >= floors,  sum(w) = 1,        G_kl = <g_k, g_l>.

With priorities p the hull is that of the points g_k / p_k, whose nearest point d to zero has
<g_k, d> >= p_k ||d||² for every k: of unit gradients, d has the largest min_k cos(g_k, d) / p_k.

The default solver finds the face of the hull by block principal pivoting (Júdice and Pires 1994)
and solves on it. Where rounding leaves more than one answer there, Wolfe's algorithm (Wolfe 1976,
"Finding the nearest point in a polytope") walks over faces, each solved exactly. Either way it ends
at rounding, not at a tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from marblecli.errors import BadInputError, MarbleError, did_you_mean, one_of

if TYPE_CHECKING:
    from marblecli.types import FloatArray

_ROUNDING = 1e-15
"""What float64 can't tell from zero in one entry of a Gram, relative to its scale; K of them
together make sqrt(K) times as much."""
_POINT_ROUNDING = 1e-14
"""A distance between points of norm about 1, made from their Gram, that is rounding."""
_RIDGES = (1e-9, 1e-12, 1e-15)
"""Relative; they split ties evenly, and are polished away afterwards. The smaller ones are for what
is near a tie and yet none."""
_NEGLIGIBLE = 1e-5
"""A weight, relative to the largest, that a ridge can give to what has none without it."""
_PIVOTINGS = 50
"""Faces tried before the pivoting is taken to cycle; at K = 64 about 6 are needed."""
_PATIENCE = 3
"""Pivotings that needn't leave fewer violations (Júdice and Pires)."""
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
    """Bound on how far the square is above the least possible, over the largest G_kk."""
    kkt_residual: float
    """Largest violation of the optimality conditions; slacks over the largest G_kk."""


class Solver(Protocol):
    """[K, K] Gram, [K] lower bounds of the weights, [K] priorities -> solution."""

    def __call__(
        self,
        gram: FloatArray,
        floors: FloatArray | None = None,
        priorities: FloatArray | None = None,
    ) -> MinNormSolution: ...


def solve_min_norm(
    gram: FloatArray, floors: FloatArray | None = None, priorities: FloatArray | None = None
) -> MinNormSolution:
    """The simplex weights of least norm, exact to rounding; ties give the even mixture.

    ``gram`` [K, K]; ``floors`` [K], lower bounds of the weights with a sum below 1, or none;
    ``priorities`` [K] above 0, of which only the ratios matter, or none.

    Raises BadInputError if ``gram`` is no Gram matrix, or floors or priorities can't be met.
    Source: Wolfe 1976, sections 3 and 4; Júdice and Pires 1994, the block algorithm.
    """
    return _solve(gram, floors, priorities, _wolfe_weights)


def solve_min_norm_cvxpy(
    gram: FloatArray,
    floors: FloatArray | None = None,
    priorities: FloatArray | None = None,
    *,
    backend: str = "CLARABEL",
) -> MinNormSolution:
    """The same problem by one of cvxpy's solvers; as exact as that is (see the residual).

    Shapes and errors as in :func:`solve_min_norm`; MarbleError if the solver gives up.
    """
    return _solve(gram, floors, priorities, partial(_cvxpy_weights, backend))


SOLVERS: Mapping[str, Solver] = MappingProxyType(
    {"wolfe": solve_min_norm, "cvxpy": solve_min_norm_cvxpy}
)


def find_solver(name: str) -> Solver:
    """The solver of a name of :data:`SOLVERS`, or of ``cvxpy:NAME`` for one that cvxpy knows.

    Raises BadInputError, which lists what is installed, for any other name.
    """
    if name in SOLVERS:
        return SOLVERS[name]
    choices = [*SOLVERS, "cvxpy:NAME"]
    if name.startswith("cvxpy:"):
        import cvxpy

        backend = name.removeprefix("cvxpy:").upper()
        if backend in cvxpy.installed_solvers():
            return partial(solve_min_norm_cvxpy, backend=backend)
        choices = [f"cvxpy:{installed}" for installed in cvxpy.installed_solvers()]
    hint = did_you_mean(name, choices)
    raise BadInputError(f"unknown solver {name!r}{hint}; there are: {one_of(choices)}")


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
    scale = _scale(gram)
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


def _scale(gram: FloatArray) -> float:
    return float(gram.diagonal().max()) or 1.0


def _solve(
    gram: FloatArray,
    floors: FloatArray | None,
    priorities: FloatArray | None,
    candidates: Callable[[FloatArray], Iterator[FloatArray]],
) -> MinNormSolution:
    """The first candidate for the points z_k of :func:`certify` that is optimal to rounding."""
    gram = check_gram(gram)
    if floors is None and priorities is None:
        return _first_exact(gram, candidates)
    floors = check_floors(floors, len(gram))
    priorities = check_priorities(priorities, len(gram))
    mixing = floors[:, None] + (1.0 - floors.sum()) * np.eye(len(gram))
    points = mixing / (priorities @ mixing)
    weights = points @ _first_exact(points.T @ gram @ points, candidates).weights
    return certify(gram, weights / weights.sum(), floors, priorities)


def _first_exact(
    gram: FloatArray, candidates: Callable[[FloatArray], Iterator[FloatArray]]
) -> MinNormSolution:
    """The best of the candidates if none is optimal to rounding."""
    rounding = _ROUNDING * len(gram) ** 0.5
    solutions = (certify(gram, weights) for weights in candidates(gram))
    best = next(solutions)
    while best.kkt_residual > rounding and (other := next(solutions, None)) is not None:
        best = min(best, other, key=attrgetter("kkt_residual"))
    return best


_TIGHT: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "CLARABEL": {"tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12},
        "OSQP": {"eps_abs": 1e-10, "eps_rel": 1e-10, "max_iter": 100_000},
        "SCS": {"eps": 1e-10},
    }
)
"""Options of cvxpy's solvers, whose own tolerances are looser; the others keep theirs."""


def _cvxpy_weights(backend: str, gram: FloatArray) -> Iterator[FloatArray]:
    import cvxpy

    eigenvalues, eigenvectors = np.linalg.eigh(gram / _scale(gram))
    factor = eigenvectors * np.sqrt(np.maximum(eigenvalues, 0.0))
    variable = cvxpy.Variable(len(gram))
    problem = cvxpy.Problem(
        cvxpy.Minimize(cvxpy.sum_squares(factor.T @ variable)),
        [variable >= 0.0, cvxpy.sum(variable) == 1.0],
    )
    try:
        problem.solve(solver=backend, **_TIGHT.get(backend, {}))
    except cvxpy.error.SolverError as error:
        reason = " ".join(str(error).split())
        raise MarbleError(f"cvxpy:{backend} failed on the min-norm problem: {reason}") from error
    if variable.value is None:
        raise MarbleError(f"cvxpy:{backend} found no min-norm point: {problem.status}")
    feasible = np.maximum(np.asarray(variable.value, dtype=np.float64), 0.0)
    yield feasible / feasible.sum()


def _wolfe_weights(gram: FloatArray) -> Iterator[FloatArray]:
    """From the quickest to the surest."""
    if gram.diagonal().min() > 0.0:
        yield from _by_pivoting(gram)
    gram = gram / _scale(gram)
    eigenvalues, eigenvectors = np.linalg.eigh(gram)
    eigenvalues[eigenvalues <= _ROUNDING * eigenvalues[-1]] = 0.0
    ridged = _wolfe(eigenvectors * np.sqrt(eigenvalues + _RIDGES[0]))
    yield from _polish(gram, _even(ridged))
    yield from _polish(gram, ridged)
    plain = _wolfe(eigenvectors * np.sqrt(eigenvalues))
    yield from _polish(gram, plain)
    yield plain


def _by_pivoting(gram: FloatArray) -> Iterator[FloatArray]:
    """[K], the optimum if no other is near; if there may be, the most even on its face first.

    Where w = u / norms, the conditions read, up to a factor, Ĝu >= c with equality where u > 0:
    Ĝ the Gram of the unit points, c their inverse norms.
    """
    norms = np.sqrt(gram.diagonal())
    unit, costs = gram / (norms[:, None] * norms), norms.min() / norms
    definite = _is_definite(unit)
    for ridge in (0.0,) if definite else _RIDGES:
        solved = _pivot(unit + ridge * np.eye(len(unit)) if ridge else unit, costs)
        if solved is None:
            continue
        weights = solved / norms
        weights /= weights.sum()
        if not definite:
            scaled = gram / _scale(gram)
            yield from _polish(scaled, _even(weights))
            yield from _polish(scaled, weights)
        yield weights


def _even(weights: FloatArray) -> FloatArray:
    """[K], the even mixture of all that the ridge doesn't hold by a thread."""
    held = weights > _NEGLIGIBLE * weights.max()
    even: FloatArray = held / np.count_nonzero(held)
    return even


def _is_definite(unit: FloatArray) -> bool:
    """Whether there is one optimum only, by a margin far above rounding."""
    try:
        pivots = np.linalg.cholesky(unit).diagonal()
    except np.linalg.LinAlgError:
        return False
    return bool(pivots.min() ** 2 > _RIDGES[0])


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
        slacks = unit[:, face] @ solved - costs + _ROUNDING * np.abs(solved).sum()
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


def _polish(gram: FloatArray, weights: FloatArray) -> Iterator[FloatArray]:
    """[K], the optimum of the face that the weights lie on; nothing if it leaves the simplex.

    Newton's step along the directions whose curvature the Gram resolves, and again for rounding;
    the others keep the weights' own share, so that from the even mixture ties stay even.
    """
    support = weights.nonzero()[0]
    face = gram[support[:, None], support]
    basis = _differences(len(support))
    curvatures, vectors = np.linalg.eigh(basis.T @ face @ basis)
    resolved = _ROUNDING * len(gram) ** 0.5 * max(1.0, curvatures.max(initial=0.0))
    steep = curvatures > resolved
    directions = basis @ vectors[:, steep]
    newton, products = directions / curvatures[steep], face @ directions
    point = weights[support]
    for _ in range(3):
        point = point - newton @ (point @ products)
    if point.min() >= -_ROUNDING:
        point = np.maximum(point, 0.0)
        polished = np.zeros(len(gram))
        polished[support] = point / point.sum()
        yield polished


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
