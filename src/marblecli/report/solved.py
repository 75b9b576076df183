"""Solved Grams, as JSON and as tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import typer
from rich.markup import escape

from marblecli.conflicts.vectors import DirectionSummary, summarise
from marblecli.report.conflict_json import direction_json
from marblecli.report.render import cosine, number, or_none, out, share, table
from marblecli.types import Balance, GradientStats, Json

if TYPE_CHECKING:
    from marblecli.maths.qp.simplex_qp import MinNormSolution
    from marblecli.types import FloatArray

SHOWN_BATCHES = 20
"""Batches of the table: the last ones; JSON has all."""


@dataclass(frozen=True)
class Solved:
    """A solution and what is said about it."""

    stats: GradientStats
    balance: Balance
    cosines: FloatArray
    """[K], of each gradient with the combined one; NaN where there's none."""
    certificate: MinNormSolution | None
    """None for methods that solve no QP on this Gram alone."""


@dataclass(frozen=True)
class Failed:
    """A batch that a method can't combine."""

    reason: str


@dataclass(frozen=True)
class Method:
    """What one method makes of every batch."""

    name: str
    """As the user wrote it."""
    batches: tuple[Solved | Failed, ...]


def show_single(
    main: tuple[str, Solved], what_ifs: Sequence[tuple[str, Solved]], *, as_json: bool
) -> None:
    """One Gram: what the main method makes of it in full, then what others would; by name."""
    if as_json:
        document = _document(*main)
        if what_ifs:
            document["what_if"] = {name: _document(name, solved) for name, solved in what_ifs}
        _print_json(document)
        return
    _show_solution(*main)
    if what_ifs:
        _show_comparison([main, *what_ifs])


def show_batches(
    batches: Sequence[str],
    names: Sequence[str],
    main: Method,
    what_ifs: Sequence[Method],
    *,
    as_json: bool,
) -> None:
    """Many Grams: a row each for the main method, then all methods over all of them.

    ``batches`` are the names of the Grams, ``names`` those of all their rewards.
    """
    if as_json:
        _print_json(_many_document(batches, names, main, what_ifs))
        return
    _show_rows(batches, names, main)
    _show_summaries(names, [main, *what_ifs])


def _print_json(document: Json) -> None:
    typer.echo(json.dumps(document, indent=2, allow_nan=False))


def _many_document(
    batches: Sequence[str], names: Sequence[str], main: Method, what_ifs: Sequence[Method]
) -> Json:
    rows = []
    for place, batch in enumerate(batches):
        row: dict[str, Json] = {"batch": batch, **_document(main.name, main.batches[place])}
        if what_ifs:
            row["what_if"] = {
                each.name: _document(each.name, each.batches[place]) for each in what_ifs
            }
        rows.append(row)
    return {
        "batches": rows,
        "summary": direction_json(_summary(names, main)),
        "what_if": {each.name: direction_json(_summary(names, each)) for each in what_ifs},
    }


def _document(method: str, solved: Solved | Failed) -> dict[str, Json]:
    if isinstance(solved, Failed):
        return {"method": method, "error": solved.reason}
    chosen, certificate, stats = solved.balance, solved.certificate, solved.stats
    return {
        "names": list(stats.names),
        "method": method,
        "simplex_weights": chosen.simplex_weights.tolist(),
        "coefficients": chosen.coefficients.tolist(),
        "cosines": [or_none(value) for value in solved.cosines.tolist()],
        "worst_cosine": or_none(_worst(solved)),
        "kkt_residual": chosen.kkt_residual,
        "duality_gap": None if certificate is None else certificate.duality_gap,
        "squared_norm": None if certificate is None else certificate.squared_norm,
        "norms": stats.norms.tolist(),
        "masked": _masked(stats),
    }


def _masked(stats: GradientStats) -> list[str]:
    return [name for name, there in zip(stats.names, stats.usable, strict=True) if not there]


def _worst(solved: Solved) -> float:
    there = solved.cosines[~np.isnan(solved.cosines)]
    return float(there.min()) if len(there) else float("nan")


def _summary(names: Sequence[str], method: Method) -> DirectionSummary:
    cosines = np.full((len(method.batches), 1, len(names)), np.nan)
    for row, solved in zip(cosines, method.batches, strict=True):
        if isinstance(solved, Solved):
            row[0, [names.index(name) for name in solved.stats.names]] = solved.cosines
    return summarise(names, cosines)


def _show_solution(method: str, solved: Solved) -> None:
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
    masked = _masked(stats)
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


def _show_comparison(methods: Sequence[tuple[str, Solved]]) -> None:
    names = methods[0][1].stats.names
    shown = table(
        "What if: each reward's cosine with d (simplex weight)", "method", ("worst cosine", *names)
    )
    labels = _labels([name for name, _ in methods])
    for label, (_, solved) in zip(labels, methods, strict=True):
        cells = (
            f"{cosine(angle)} ({weight:.2f})"
            for angle, weight in zip(solved.cosines, solved.balance.simplex_weights, strict=True)
        )
        shown.add_row(escape(label), cosine(_worst(solved)), *cells)
    out.print(shown)


def _show_rows(batches: Sequence[str], names: Sequence[str], method: Method) -> None:
    columns = (*names, "worst cosine", "KKT residual")
    shown = table(f"{method.name}: simplex weights of every batch", "batch", columns)
    rows = list(zip(batches, method.batches, strict=True))
    for batch, solved in rows[-SHOWN_BATCHES:]:
        if isinstance(solved, Failed):
            shown.add_row(escape(batch), *("-" for _ in columns))
            continue
        weights = dict(zip(solved.stats.names, solved.balance.simplex_weights, strict=True))
        shown.add_row(
            escape(batch),
            *(number(weights.get(name)) for name in names),
            cosine(_worst(solved)),
            f"{solved.balance.kkt_residual:.0e}",
        )
    out.print(shown)
    if len(rows) > SHOWN_BATCHES:
        out.print(f"{len(rows) - SHOWN_BATCHES} earlier batches left out; --json has them.")


def _show_summaries(names: Sequence[str], methods: Sequence[Method]) -> None:
    columns = ("batches", "fights one in", "mean worst cosine", *names)
    shown = table("Over all batches: mean cosine with d", "method", columns)
    labels = _labels([method.name for method in methods])
    for label, method in zip(labels, methods, strict=True):
        summary = _summary(names, method)
        shown.add_row(
            escape(label),
            str(summary.batches),
            share(summary.fought_share.value),
            cosine(summary.worst_cosine.value),
            *(cosine(summary.per_reward[name].cosine.value) for name in names),
        )
    out.print(shown)


def _labels(names: Sequence[str]) -> list[str]:
    """The first is the main method: floors and priorities are its own."""
    main, *others = names
    return [f"{main} (as asked)" if main in others else main, *others]
