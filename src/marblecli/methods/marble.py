"""The min-norm point of the unit gradients: the direction with the largest worst cosine.

Source: MARBLE, arXiv 2605.06507 (unit gradients, min-norm point, rescaled); MGDA, Désidéri 2012.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from pydantic import Field, PositiveFloat, field_validator

from marblecli.maths.qp.problem import MinNormSolution, certify
from marblecli.maths.qp.solvers import find_solver
from marblecli.methods.method import Method, MethodSpec, State, Statistics, unit_mixture
from marblecli.plugins import NoOptions
from marblecli.types import Balance, FloatArray


class MarbleOptions(NoOptions):
    """Options of the method ``marble``."""

    solver: str = "wolfe"
    """What solves the quadratic program: ``wolfe``, ``cvxpy``, or ``cvxpy:NAME`` for a solver that
    cvxpy has installed."""
    priorities: Mapping[str, PositiveFloat] = {}
    """By reward, and 1 where absent. The worst cosine per priority is made the largest, so that
    twice the priority asks for twice the cosine."""
    floors: Mapping[str, Annotated[float, Field(ge=0.0, lt=1.0)]] = {}
    """By reward, and 0 where absent: the least share of its unit gradient in the mixture."""

    @field_validator("solver", mode="after")
    @classmethod
    def _known_solver(cls, solver: str) -> str:
        if solver not in ("wolfe", "cvxpy") and not solver.startswith("cvxpy:"):
            raise ValueError(f"must be 'wolfe', 'cvxpy' or 'cvxpy:NAME', got {solver!r}")
        return solver

    @field_validator("floors", mode="after")
    @classmethod
    def _leave_room(cls, floors: Mapping[str, float]) -> Mapping[str, float]:
        if (total := sum(floors.values())) >= 1.0:
            raise ValueError(f"must sum to less than 1, got {total:g}")
        return floors


def build(options: MarbleOptions) -> Method:
    """The method with the options' solver, priorities and floors."""

    def marble(statistics: Statistics, state: State) -> tuple[Balance, State]:
        solve = find_solver(options.solver)
        floors, priorities = _bounds(options, statistics.names)
        solution = solve(statistics.unit_gram, floors, priorities)
        return unit_mixture(solution.weights, statistics.norms, solution.kkt_residual), state

    return marble


def certificate(
    options: MarbleOptions, statistics: Statistics, balance: Balance
) -> MinNormSolution:
    """How far ``balance`` is from the optimum of the problem that the options pose."""
    floors, priorities = _bounds(options, statistics.names)
    return certify(statistics.unit_gram, balance.simplex_weights, floors, priorities)


def _bounds(
    options: MarbleOptions, names: tuple[str, ...]
) -> tuple[FloatArray | None, FloatArray | None]:
    """Floors and priorities, [U] each, or None where the options have none."""
    tables = ((options.floors, 0.0), (options.priorities, 1.0))
    floors, priorities = (
        np.array([table.get(name, default) for name in names]) if table else None
        for table, default in tables
    )
    return floors, priorities


def _check_solver(options: MarbleOptions) -> None:
    find_solver(options.solver)


SPEC = MethodSpec(
    name="marble",
    summary="the unit gradients' mixture with the largest worst cosine, at the mean length",
    build=build,
    options=MarbleOptions,
    certify=certificate,
    named_rewards=lambda options: {"priorities": options.priorities, "floors": options.floors},
    check=_check_solver,
)
