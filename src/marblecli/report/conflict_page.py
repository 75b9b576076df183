"""The report of a run as a page: its tables, and charts of what changes from batch to batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from marblecli.conflicts.columns import column_each, gradient_cosines, reward_names
from marblecli.conflicts.estimates import Estimate
from marblecli.conflicts.findings import Findings
from marblecli.conflicts.pairs import PairSummary
from marblecli.conflicts.record import ConflictRecord
from marblecli.report.cells import NOTHING, interval
from marblecli.report.charts import Cell, Row, amount_rows, cosine_rows, matrix
from marblecli.report.conflict_report import ConflictReport
from marblecli.report.page import Chart, Page, Section
from marblecli.report.pass_value import TITLE
from marblecli.types import FloatArray


def conflict_page(
    records: Sequence[ConflictRecord], findings: Findings, report: ConflictReport
) -> Page:
    """The page of a run; ``report`` is of the same records and findings."""
    return Page(
        title=f"Conflicts between rewards: {report.title}",
        verdict=report.verdict,
        measured=report.measured,
        sections=conflict_sections(records, findings, report),
        notes=report.notes,
    )


def conflict_sections(
    records: Sequence[ConflictRecord], findings: Findings, report: ConflictReport
) -> tuple[Section, ...]:
    """The tables and charts of what was found."""
    return (
        _matrix_section(findings, report),
        _section_over_time(records, findings),
        Section("Directions and rewards", tables=(report.directions, report.rewards)),
        *_value_sections(report),
        Section(
            "Every direction, source and noise level",
            tables=report.details,
            folded=True,
        ),
    )


def pair_cells(findings: Findings) -> dict[tuple[int, int], Cell]:
    """The matrix of rewards, by row and column.

    Below the diagonal stand the cosines without noise, above it those of single batches, and on
    it the split halves. A cell without a significant value is grey.
    """
    rewards = list(findings.rewards)
    cells = {}
    for place, facts in enumerate(findings.rewards.values()):
        cells[place, place] = _cell(facts.reliability)
    for pair in findings.pairs:
        low, high = sorted((rewards.index(pair.first), rewards.index(pair.second)))
        cells[low, high] = _cell(pair.cosine)
        cells[high, low] = _corrected_cell(pair)
    return cells


def _matrix_section(findings: Findings, report: ConflictReport) -> Section:
    title = "Which rewards conflict"
    return Section(
        title,
        "Below the diagonal: the cosine between what two rewards' gradients share across prompts, "
        "without their noise; a dotted cell is not significant or not measured. Above it: what "
        "single batches show, on average. On it, framed: how far a reward's own gradient agrees "
        "between prompts (split-half cosine). Red, bold and negative is conflict.",
        charts=(
            Chart("As a picture", matrix(title, tuple(findings.rewards), pair_cells(findings))),
        ),
        tables=(report.pairs,) if report.pairs.rows else (),
    )


def _value_sections(report: ConflictReport) -> tuple[Section, ...]:
    value = report.value
    if value is None:
        return ()
    return (Section(TITLE, " ".join(value.sentences), tables=value.tables),)


def _section_over_time(records: Sequence[ConflictRecord], findings: Findings) -> Section:
    steps = [record.step for record in records]
    pairs, applied = pair_rows(records, findings), reward_rows(records, _applied)
    weights = reward_rows(records, lambda record: record.simplex_weights)
    coefficients = reward_rows(records, lambda record: record.coefficients)
    between = "Cosines between two rewards"
    return Section(
        "Cosines and coefficients",
        "Each bar is a measured batch, or the mean of neighbouring ones where there are many. Bars "
        "that hang down and are hatched are conflicts. The number at the right is the mean.",
        charts=(
            Chart(
                between,
                cosine_rows(between, pairs, steps),
                "Of their gradients in single batches. Rewards score the same images, so a batch "
                "alone says little of what lasts.",
                tall=True,
            ),
            Chart(
                "Cosines with the applied direction",
                cosine_rows("Cosines with the applied direction", applied, steps),
                "Of every reward's gradient, on the batch that the direction was made from.",
            ),
            Chart(
                "Weights of the unit gradients",
                amount_rows("Weights of the unit gradients", weights, steps),
                "What the method gave to each reward, whatever the length of its gradient.",
            ),
            Chart(
                "Coefficients of the losses",
                amount_rows("Coefficients of the losses", coefficients, steps),
                "The same as factors of the raw losses: small where a gradient is long.",
            ),
        ),
    )


def pair_rows(records: Sequence[ConflictRecord], findings: Findings) -> tuple[Row, ...]:
    """The cosines of each pair of rewards, batch by batch; the surest conflict first."""
    names = reward_names(records)
    between = np.stack([gradient_cosines(record, names) for record in records])
    return tuple(
        Row(
            f"{pair.first} - {pair.second}",
            _values(between[:, names.index(pair.first), names.index(pair.second)]),
        )
        for pair in findings.pairs
    )


def reward_rows(
    records: Sequence[ConflictRecord],
    values: Callable[[ConflictRecord], Sequence[float | None]],
) -> tuple[Row, ...]:
    """The ``values`` of each reward, batch by batch."""
    columns = column_each(records, values).T
    names = reward_names(records)
    return tuple(Row(name, _values(column)) for name, column in zip(names, columns, strict=True))


def _applied(record: ConflictRecord) -> Sequence[float | None]:
    return record.cosines.get("applied", (None,) * len(record.rewards))


def _cell(estimate: Estimate) -> Cell:
    value = None if math.isnan(estimate.value) else estimate.value
    # Two digits, because there is no room for more on a phone; the tables have the third.
    text = NOTHING if value is None else f"{value:+.2f}" + ("" if estimate.sign else "?")
    return Cell(value, text, interval(estimate).strip("[]"))


def _corrected_cell(pair: PairSummary) -> Cell:
    if math.isnan(pair.corrected.value):
        return Cell(None, "?", pair.verdict)
    cell = _cell(pair.corrected)
    return cell if pair.corrected.sign else Cell(None, cell.text, cell.note)


def _values(column: FloatArray) -> list[float | None]:
    return [None if math.isnan(value) else value for value in column.tolist()]
