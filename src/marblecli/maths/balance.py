"""Gradient statistics -> how the K gradients are combined; one function per method.

Source: MARBLE, arXiv 2605.06507 (unit gradients, min-norm point, rescaled); MGDA, Désidéri 2012.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from marblecli.errors import BadInputError, MarbleError, did_you_mean, one_of
from marblecli.maths.simplex_qp import SOLVERS
from marblecli.types import Balance

if TYPE_CHECKING:
    from marblecli.types import BoolArray, FloatArray, GradientStats


@dataclass(frozen=True)
class BalanceProblem:
    """What a method sees: the usable rewards only."""

    unit_gram: FloatArray
    """[U, U], inner products of the unit gradients."""
    norms: FloatArray
    """[U], norms of the raw gradients, all above 0."""
    loss_weights: FloatArray
    """[U], the recipe's weight of each reward."""
    floors: FloatArray | None
    """[U], lower bounds of the simplex weights, or none."""
    solver: str
    """A name in :data:`marblecli.maths.simplex_qp.SOLVERS`."""


def balance(
    stats: GradientStats,
    method: str,
    loss_weights: FloatArray,
    solver: str = "wolfe",
    floors: FloatArray | None = None,
) -> Balance:
    """The combination d = sum_k coefficients_k g_k that ``method`` chooses.

    ``loss_weights`` [K], used by ``weighted-sum`` only; ``floors`` [K], lower bounds of the simplex
    weights, for ``marble`` only. Unusable rewards get weight 0, whatever their floor.

    Raises BadInputError for an unknown method or solver, or floors that can't be met; MarbleError
    if no reward is usable.
    """
    _check_name("balance method", method, METHODS)
    _check_name("solver", solver, SOLVERS)
    if floors is not None and method != "marble":
        raise BadInputError(f"only the method marble takes floors, not {method}")
    norms = stats.norms
    usable = stats.usable & (norms > 0.0)
    if not usable.any():
        raise MarbleError(
            f"no reward has a usable gradient in this batch: {', '.join(stats.names)}"
        )
    norms = norms[usable]
    unit_gram = stats.gram[np.ix_(usable, usable)] / np.outer(norms, norms)
    np.fill_diagonal(unit_gram, 1.0)
    problem = BalanceProblem(
        unit_gram=unit_gram,
        norms=norms,
        loss_weights=np.asarray(loss_weights, dtype=np.float64)[usable],
        floors=None if floors is None else floors[usable],
        solver=solver,
    )
    chosen = METHODS[method](problem)
    return Balance(
        simplex_weights=_spread(chosen.simplex_weights, usable),
        coefficients=_spread(chosen.coefficients, usable),
        kkt_residual=chosen.kkt_residual,
    )


def marble(problem: BalanceProblem) -> Balance:
    """The min-norm point of the unit gradients: the direction with the largest worst cosine."""
    solution = SOLVERS[problem.solver](problem.unit_gram, problem.floors)
    return _rescaled(solution.weights, problem.norms, solution.kkt_residual)


def equal(problem: BalanceProblem) -> Balance:
    """Every unit gradient alike."""
    count = len(problem.norms)
    return _rescaled(np.full(count, 1.0 / count), problem.norms)


def weighted_sum(problem: BalanceProblem) -> Balance:
    """The recipe's weights on the raw losses, normalised to sum to 1 over the usable rewards."""
    total = problem.loss_weights.sum()
    if total <= 0.0:
        raise MarbleError("no reward with a usable gradient has a weight above 0")
    coefficients = problem.loss_weights / total
    lengths = coefficients * problem.norms
    return Balance(lengths / lengths.sum(), coefficients, kkt_residual=0.0)


METHODS: Mapping[str, Callable[[BalanceProblem], Balance]] = MappingProxyType(
    {"marble": marble, "weighted-sum": weighted_sum, "equal": equal}
)


def _rescaled(weights: FloatArray, norms: FloatArray, kkt_residual: float = 0.0) -> Balance:
    """Unit gradients' weights [U] as coefficients s * weights / norms, s the mean norm."""
    return Balance(weights, norms.mean() * weights / norms, kkt_residual)


def _spread(values: FloatArray, usable: BoolArray) -> FloatArray:
    spread = np.zeros(len(usable))
    spread[usable] = values
    return spread


def _check_name(what: str, name: str, choices: Mapping[str, object]) -> None:
    if name not in choices:
        hint = did_you_mean(name, choices)
        raise BadInputError(f"unknown {what} {name!r}{hint}; there are: {one_of(choices)}")
