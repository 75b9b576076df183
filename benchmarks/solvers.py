"""Solvers of the min-norm problem on difficult Gram matrices: their errors and their speed.

    python benchmarks/solvers.py --count 2000 --json solvers.json

One certificate, :func:`marblecli.maths.qp.problem.certify`, judges all of them. Needs
``pip install -e '.[benchmarks]'``; set OMP_NUM_THREADS=1, as the matrices are small.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from grams import FAMILIES, Case, FloatArray, high_dimensional, suite, unit_gram
from marblecli.errors import MarbleError
from marblecli.maths.qp.problem import certify
from marblecli.maths.qp.solvers import find_solver
from marblecli.methods.published import slsqp_weights
from marblecli.methods.torchjd import torchjd_weights

SIZES = (2, 3, 5, 8, 16, 32, 64)
TIMED_SIZES = (2, 5, 16, 64)
FAILED_ABOVE = 1e-6
"""A KKT residual above this is a failure; rounding in float64 gives about 1e-15."""
LEAST_COSINE = 1e-4
"""Directions are judged only on cases where the best worst cosine is at least this."""
SOLVES_A_TURN = 5
ROUNDING = 1e-9
"""A worst cosine that is below 0 by less than this is no error."""

Weigh = Callable[[FloatArray], FloatArray]
"""[K, K] Gram -> [K] weights on the simplex."""


def quadprog_weights(gram: FloatArray) -> FloatArray:
    """Goldfarb and Idnani's dual method. It needs a definite matrix, so a ridge is added."""
    import quadprog

    count = len(gram)
    constraints = np.column_stack([np.ones(count), np.eye(count)])
    bounds = np.concatenate([[1.0], np.zeros(count)])
    ridged = gram + 1e-12 * np.eye(count)
    found = quadprog.solve_qp(ridged, np.zeros(count), constraints, bounds, meq=1)[0]
    clipped = np.maximum(found, 0.0)
    weights: FloatArray = clipped / clipped.sum()
    return weights


SOLVERS: Mapping[str, Weigh] = {
    "wolfe": lambda gram: find_solver("wolfe")(gram).weights,
    "slsqp, ftol 1e-8": slsqp_weights,
    "cvxpy:CLARABEL": lambda gram: find_solver("cvxpy:CLARABEL")(gram).weights,
    "cvxpy:OSQP": lambda gram: find_solver("cvxpy:OSQP")(gram).weights,
    "cvxpy:SCS": lambda gram: find_solver("cvxpy:SCS")(gram).weights,
    "quadprog": quadprog_weights,
    "TorchJD MGDA": lambda gram: torchjd_weights("mgda", gram, seed=0),
}


@dataclass(frozen=True)
class Accuracy:
    """The accuracy of one solver over the whole suite."""

    cases: int
    failures: int
    """Exceptions, values that aren't finite, and KKT residuals above 1e-6."""
    worst_residual: float
    """Over the cases for which the solver gave weights."""
    median_residual: float
    judged_directions: int
    not_common_descent: float
    """The share of the judged directions along which some reward falls."""


def measure_accuracy(weigh: Weigh, cases: Sequence[Case], best_cosines: FloatArray) -> Accuracy:
    """Judge a solver. ``best_cosines`` [cases] are the largest possible worst cosines."""
    residuals = np.full(len(cases), np.inf)
    descends = np.zeros(len(cases), dtype=bool)
    for index, case in enumerate(cases):
        weights = attempt(weigh, case.gram)
        if weights is not None:
            residuals[index] = certify(case.gram, weights).kkt_residual
            descends[index] = worst_cosine(case.gram, weights) >= -ROUNDING
    judged = best_cosines >= LEAST_COSINE
    solved = residuals[np.isfinite(residuals)]
    return Accuracy(
        cases=len(cases),
        failures=int((residuals > FAILED_ABOVE).sum()),
        worst_residual=float(solved.max(initial=0.0)),
        median_residual=float(np.median(solved)) if len(solved) else float("nan"),
        judged_directions=int(judged.sum()),
        not_common_descent=float((~descends[judged]).mean()),
    )


def attempt(weigh: Weigh, gram: FloatArray) -> FloatArray | None:
    """The weights; None if the solver fails, or returns values that aren't finite."""
    try:
        weights = weigh(gram)
    except (MarbleError, ValueError, ArithmeticError):
        return None
    return weights if np.isfinite(weights).all() else None


def worst_cosine(gram: FloatArray, weights: FloatArray) -> float:
    """The worst cosine of the unit gradients with the combined one; 0 if that is zero."""
    products = gram @ weights
    squared_length = float(weights @ products)
    return float(products.min()) / np.sqrt(squared_length) if squared_length > 0.0 else 0.0


def measure_time(grams: Sequence[FloatArray], rounds: int) -> dict[str, float]:
    """The median microseconds of a solve, by solver.

    The solvers take turns on each Gram matrix, so that other work on the machine affects all alike.
    """
    seconds: dict[str, list[float]] = {name: [] for name in SOLVERS}
    for number in range(rounds + 1):
        for gram in grams:
            for name, weigh in SOLVERS.items():
                took = [time_once(weigh, gram) for _ in range(SOLVES_A_TURN)]
                if number > 0:  # the first round loads libraries
                    seconds[name] += took
    return {name: 1e6 * float(np.median(took)) for name, took in seconds.items()}


def time_once(weigh: Weigh, gram: FloatArray) -> float:
    started = time.perf_counter()
    attempt(weigh, gram)
    return time.perf_counter() - started


def main(
    count: Annotated[int, typer.Option(help="Least number of Grams in the suite.")] = 2000,
    seed: Annotated[int, typer.Option(help="Of the suite.")] = 0,
    out: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Run every solver on the same Grams; print three tables."""
    warnings.simplefilter("ignore")  # solvers that stop early say so; the certificate says it too
    screen = Console(stderr=True)
    cases = list(suite(count, SIZES, seed))
    best = [find_solver("wolfe")(case.gram).squared_norm for case in cases]
    best_cosines = np.sqrt(np.maximum(best, 0.0))
    accuracy = {
        name: measure_accuracy(weigh, cases, best_cosines)
        for name, weigh in track(SOLVERS.items(), "accuracy", console=screen)
    }
    rng = np.random.default_rng(seed)
    times = {}
    for size in track(TIMED_SIZES, "time", console=screen):
        typical = [unit_gram(high_dimensional(rng, size)) for _ in range(9)]
        hard = [unit_gram(family(rng, size)) for family in FAMILIES.values()]
        times[size] = {"typical": measure_time(typical, 2), "hard": measure_time(hard, 2)}
    show(Console(), accuracy, times)
    if out is not None:
        document = {
            "seed": seed,
            "accuracy": {name: asdict(found) for name, found in accuracy.items()},
            "microseconds": {str(size): found for size, found in times.items()},
        }
        out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def show(
    console: Console,
    accuracy: Mapping[str, Accuracy],
    times: Mapping[int, Mapping[str, Mapping[str, float]]],
) -> None:
    """Print three tables."""
    cases = next(iter(accuracy.values())).cases
    right = Table("solver", title=f"{cases} adversarial Grams of unit gradients")
    for column in ("failures", "worst KKT", "median KKT", "not a common descent"):
        right.add_column(column, justify="right")
    for name, found in accuracy.items():
        right.add_row(
            name,
            str(found.failures),
            f"{found.worst_residual:.1e}",
            f"{found.median_residual:.1e}",
            f"{100 * found.not_common_descent:.1f} %",
        )
    console.print(right)
    for kind, grams in (("typical", "gradients of a network"), ("hard", "one of every family")):
        fast = Table("solver", title=f"median microseconds a solve: {grams}")
        for size in times:
            fast.add_column(f"K = {size}", justify="right")
        for name in accuracy:
            fast.add_row(name, *(f"{times[size][kind][name]:.0f}" for size in times))
        console.print(fast)


if __name__ == "__main__":
    typer.run(main)
