"""What ``marble solve`` does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import typer
from rich.markup import escape

from marblecli.cli.render import cosine, number, or_none, out, table
from marblecli.errors import BadInputError, MarbleError, did_you_mean, one_of
from marblecli.maths.balance import balance
from marblecli.maths.conflicts import direction_cosines
from marblecli.maths.simplex_qp import MinNormSolution, certify, check_floors, check_gram
from marblecli.runs.gradient_files import read_gradient_stats
from marblecli.types import Balance, GradientStats

if TYPE_CHECKING:
    from marblecli.types import FloatArray


@dataclass(frozen=True)
class SolveOptions:
    """What the user asked for."""

    method: str
    solver: str
    floors: tuple[str, ...]
    """``NAME=VALUE`` items, or one number."""
    weights: tuple[str, ...]


@dataclass(frozen=True)
class Solved:
    """A solution and what is said about it."""

    stats: GradientStats
    balance: Balance
    cosines: FloatArray
    """[K], of each gradient with the combined one; NaN where there's none."""
    certificate: MinNormSolution | None
    """None for methods that solve no QP."""


def solve_file(file: Path, options: SolveOptions, *, as_json: bool) -> None:
    """Read, solve, print. Raises BadInputError for anything unusable in file or options."""
    solved = _solve(file, options)
    if as_json:
        typer.echo(json.dumps(_document(solved, options.method), indent=2, allow_nan=False))
    else:
        _show(solved, options.method)


def _solve(file: Path, options: SolveOptions) -> Solved:
    stats = read_gradient_stats(file)
    names = stats.names
    try:
        stats = GradientStats(names, check_gram(stats.gram), stats.usable)
    except BadInputError as error:
        raise BadInputError(f"{file}: {error}") from error
    if not stats.usable.any():
        raise BadInputError(f"{file}: every gradient is zero: {', '.join(names)}")
    floors = None
    if options.floors:
        floors = check_floors(parse_numbers("--floor", options.floors, names, 0.0), len(names))
    weights = parse_numbers("--weight", options.weights, names, 1.0)
    try:
        chosen = balance(stats, options.method, weights, options.solver, floors)
    except BadInputError:
        raise
    except MarbleError as error:
        raise BadInputError(f"{file}: {error}") from error
    return Solved(
        stats=stats,
        balance=chosen,
        cosines=direction_cosines(stats.gram, chosen.coefficients),
        certificate=_certificate(stats, chosen, floors) if options.method == "marble" else None,
    )


def _certificate(
    stats: GradientStats, chosen: Balance, floors: FloatArray | None
) -> MinNormSolution:
    usable = stats.usable
    norms = stats.norms[usable]
    unit_gram = stats.gram[np.ix_(usable, usable)] / np.outer(norms, norms)
    return certify(
        unit_gram, chosen.simplex_weights[usable], None if floors is None else floors[usable]
    )


def parse_numbers(
    option: str, items: Sequence[str], names: Sequence[str], default: float
) -> FloatArray:
    """[K] from ``NAME=VALUE`` items; a bare number is the default of all the others.

    Raises BadInputError for an unknown name, or a value that is no finite number of at least 0.
    """
    numbers: dict[str, float] = {}
    for item in items:
        name, equals, text = item.rpartition("=")
        if equals and name not in names:
            hint = did_you_mean(name, names)
            raise BadInputError(
                f"{option} {item}: no reward is called {name!r}{hint}; there are: {one_of(names)}"
            )
        value = _number(option, item, text)
        if equals:
            numbers[name] = value
        else:
            default = value
    return np.array([numbers.get(name, default) for name in names])


def _number(option: str, item: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not (np.isfinite(value) and value >= 0.0):
        raise BadInputError(
            f"{option} {item}: expected NAME=VALUE or one number, finite and at least 0"
        )
    return value


def _document(solved: Solved, method: str) -> dict[str, object]:
    chosen, certificate = solved.balance, solved.certificate
    usable = solved.stats.usable
    return {
        "names": list(solved.stats.names),
        "method": method,
        "simplex_weights": chosen.simplex_weights.tolist(),
        "coefficients": chosen.coefficients.tolist(),
        "cosines": [or_none(value) for value in solved.cosines.tolist()],
        "worst_cosine": or_none(_worst(solved)),
        "kkt_residual": chosen.kkt_residual,
        "duality_gap": None if certificate is None else certificate.duality_gap,
        "squared_norm": None if certificate is None else certificate.squared_norm,
        "norms": solved.stats.norms.tolist(),
        "masked": [
            name for name, there in zip(solved.stats.names, usable, strict=True) if not there
        ],
    }


def _worst(solved: Solved) -> float:
    there = solved.cosines[~np.isnan(solved.cosines)]
    return float(there.min()) if len(there) else float("nan")


def _show(solved: Solved, method: str) -> None:
    stats, chosen = solved.stats, solved.balance
    shown = table(
        f"{method}: d = sum of coefficient x gradient",
        "reward",
        ("gradient norm", "simplex weight", "coefficient", "cosine with d"),
    )
    rows = zip(
        stats.names,
        stats.norms,
        chosen.simplex_weights,
        chosen.coefficients,
        solved.cosines,
        strict=True,
    )
    for name, norm, simplex_weight, coefficient, angle in rows:
        shown.add_row(
            escape(name), number(norm), number(simplex_weight), number(coefficient), cosine(angle)
        )
    out.print(shown)
    masked = [name for name, there in zip(stats.names, stats.usable, strict=True) if not there]
    if masked:
        out.print(f"left out, because the gradient is zero: {', '.join(masked)}", markup=False)
    out.print(f"worst cosine: {cosine(_worst(solved))}")
    if np.isnan(solved.cosines).all():
        out.print("The combined gradient is zero: no direction helps every reward.")
    if solved.certificate is not None:
        out.print(
            f"certificate: KKT residual {solved.certificate.kkt_residual:.1e}, "
            f"duality gap {solved.certificate.duality_gap:.1e} (0 is optimal)"
        )
