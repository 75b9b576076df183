"""What ``marble solve`` prints: tables, or one JSON document."""

from __future__ import annotations

from collections.abc import Sequence

from marblecli.report.document import direction_json, or_none, print_document
from marblecli.report.render import out
from marblecli.report.solved import (
    Failed,
    Method,
    Solved,
    batches_table,
    comparison_table,
    solution_table,
    summaries_table,
    summary,
)
from marblecli.report.terminal import show
from marblecli.types import Json

SHOWN_BATCHES = 20
"""The most batches of the table, which shows the last ones; JSON has all."""


def show_single(
    main: tuple[str, Solved], others: Sequence[tuple[str, Solved]], *, as_json: bool
) -> None:
    """Show what the main method makes of one Gram, and what other methods would; by name."""
    if as_json:
        document = solution_document(*main)
        if others:
            document["what_if"] = {name: solution_document(name, each) for name, each in others}
        print_document(document)
        return
    show(solution_table(*main))
    if others:
        show(comparison_table([main, *others]))


def show_batches(
    batches: Sequence[str],
    names: Sequence[str],
    main: Method,
    others: Sequence[Method],
    *,
    as_json: bool,
) -> None:
    """Show what the main method makes of many Grams, then all methods over all of them.

    ``batches`` are the names of the Grams, ``names`` those of all their rewards.
    """
    if as_json:
        print_document(batches_document(batches, names, main, others))
        return
    table = batches_table(batches, names, main)
    show(table.last(SHOWN_BATCHES))
    if len(batches) > SHOWN_BATCHES:
        out.print(f"{len(batches) - SHOWN_BATCHES} earlier batches left out; --json has them.")
    show(summaries_table(names, [main, *others]))


def solution_document(method: str, solved: Solved | Failed) -> dict[str, Json]:
    """One solution; its keys are a contract with users' scripts."""
    if isinstance(solved, Failed):
        return {"method": method, "error": solved.reason}
    chosen, certificate, stats = solved.balance, solved.certificate, solved.stats
    return {
        "names": list(stats.names),
        "method": method,
        "simplex_weights": chosen.simplex_weights.tolist(),
        "coefficients": chosen.coefficients.tolist(),
        "cosines": [or_none(value) for value in solved.cosines.tolist()],
        "worst_cosine": or_none(solved.worst_cosine),
        "kkt_residual": chosen.kkt_residual,
        "duality_gap": None if certificate is None else certificate.duality_gap,
        "squared_norm": None if certificate is None else certificate.squared_norm,
        "norms": stats.norms.tolist(),
        "masked": solved.masked,
    }


def batches_document(
    batches: Sequence[str], names: Sequence[str], main: Method, others: Sequence[Method]
) -> dict[str, Json]:
    """A solution for each batch, and how each method treats the rewards over all of them."""
    rows = []
    for place, batch in enumerate(batches):
        row: dict[str, Json] = {
            "batch": batch,
            **solution_document(main.name, main.batches[place]),
        }
        if others:
            row["what_if"] = {
                each.name: solution_document(each.name, each.batches[place]) for each in others
            }
        rows.append(row)
    return {
        "batches": rows,
        "summary": direction_json(summary(names, main)),
        "what_if": {each.name: direction_json(summary(names, each)) for each in others},
    }
