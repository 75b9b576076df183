"""cvxpy's solvers, as exact as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from marblecli.errors import MarbleError
from marblecli.maths.qp.problem import MinNormSolution, gram_scale, solve

if TYPE_CHECKING:
    from marblecli.types import FloatArray

_TIGHT: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "CLARABEL": {"tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12},
        "OSQP": {"eps_abs": 1e-10, "eps_rel": 1e-10, "max_iter": 100_000},
        "SCS": {"eps": 1e-10},
    }
)
"""Options of cvxpy's solvers, whose own tolerances are looser; the others keep theirs."""


def solve_min_norm_cvxpy(
    gram: FloatArray,
    floors: FloatArray | None = None,
    priorities: FloatArray | None = None,
    *,
    backend: str = "CLARABEL",
) -> MinNormSolution:
    """The same problem by one of cvxpy's solvers; as exact as that is (see the residual).

    Shapes and errors as in :func:`~marblecli.maths.qp.problem.solve`; MarbleError if the solver
    gives up.
    """
    return solve(gram, floors, priorities, partial(_cvxpy_weights, backend))


def _cvxpy_weights(backend: str, gram: FloatArray) -> Iterator[FloatArray]:
    import cvxpy

    eigenvalues, eigenvectors = np.linalg.eigh(gram / gram_scale(gram))
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
