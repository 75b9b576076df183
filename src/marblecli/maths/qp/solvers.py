"""The solvers by name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from marblecli.errors import BadInputError, did_you_mean, one_of
from marblecli.maths.qp.cvxpy_solvers import solve_min_norm_cvxpy
from marblecli.maths.qp.exact import solve_min_norm

if TYPE_CHECKING:
    from marblecli.maths.qp.problem import MinNormSolution
    from marblecli.types import FloatArray


class Solver(Protocol):
    """[K, K] Gram, [K] lower bounds of the weights, [K] priorities -> solution."""

    def __call__(
        self,
        gram: FloatArray,
        floors: FloatArray | None = None,
        priorities: FloatArray | None = None,
    ) -> MinNormSolution: ...


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
