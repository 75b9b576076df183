"""Findings about conflicts as the HTML page's content."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from marblecli.conflicts.estimates import Estimate
from marblecli.conflicts.findings import Findings
from marblecli.conflicts.vectors import (
    DirectionSummary,
    PairSummary,
    by_name,
    named_pairs,
)
from marblecli.report.conflict_tables import doubtful, interval, least_cosine
from marblecli.report.page import ConflictReport, ReportTable
from marblecli.report.svg import Cell, Row
from marblecli.types import ConflictRecord, FloatArray

_VIEWS = {
    "batch": "own batch",
    "signal": "its signal",
    "held-out": "held-out half",
    "fresh": "fresh images",
    "fresh-signal": "their signal",
}


def conflict_report(
    title: str, summary: Sequence[str], records: Sequence[ConflictRecord], findings: Findings
) -> ConflictReport:
    """What the page of a run shows."""
    rewards = tuple(findings.rewards)
    pairs = {(pair.first, pair.second): pair for pair in findings.pairs}
    between = np.stack([named_pairs(record, rewards) for record in records])
    return ConflictReport(
        title=f"Conflicts between rewards: {title}",
        summary=tuple(summary),
        rewards=rewards,
        steps=tuple(record.step for record in records),
        fights=_fights(findings, rewards, pairs),
        balancers=_balancers(findings),
        gradients=_gradients(findings),
        pair_cosines=tuple(
            Row(
                f"{first} - {second}",
                _values(between[:, rewards.index(first), rewards.index(second)]),
            )
            for first, second in pairs
        ),
        applied_cosines=_rows(records, rewards, _applied),
        weights=_rows(records, rewards, lambda record: np.array(record.simplex_weights)),
        coefficients=_rows(records, rewards, lambda record: np.array(record.coefficients)),
    )


def _fights(
    findings: Findings, rewards: Sequence[str], pairs: dict[tuple[str, str], PairSummary]
) -> dict[tuple[int, int], Cell]:
    """Below the diagonal without noise, above it single batches, on it the split halves."""
    cells = {}
    for place, facts in enumerate(findings.rewards.values()):
        cells[place, place] = _cell(facts.reliability)
    for (first, second), pair in pairs.items():
        low, high = sorted((rewards.index(first), rewards.index(second)))
        cells[low, high] = _cell(pair.cosine)
        cells[high, low] = _told(pair.corrected)
    return cells


def _told(corrected: Estimate) -> Cell:
    """Grey where it can't be told from noise."""
    cell = _cell(corrected)
    if math.isnan(corrected.value):
        return Cell(None, "?", "can't be told")
    return cell if corrected.sign else Cell(None, cell.text, cell.note)


def _cell(estimate: Estimate) -> Cell:
    value = None if math.isnan(estimate.value) else estimate.value
    return Cell(value, _signed(estimate), interval(estimate).strip("[]"))


def _balancers(findings: Findings) -> ReportTable:
    views = {
        view: title
        for view, title in _VIEWS.items()
        if any(summary.batches for summary in findings.views[view].values())
    }
    rows = []
    for name in findings.views["batch"]:
        summaries = [findings.views[view][name] for view in views]
        if any(summary.batches for summary in summaries):
            rows.append((name, *map(_direction_cell, summaries)))
    return ReportTable(("direction", *views.values()), tuple(rows))


def _direction_cell(summary: DirectionSummary) -> str:
    least = least_cosine(summary)
    if least is None:
        return "-"
    fought = f"{100.0 * summary.fought_share.value:.0f} %"
    return f"{_with_interval(least)}\n{summary.worst_reward}; fought in {fought}"


def _gradients(findings: Findings) -> ReportTable:
    views = {
        view: title for view, title in _VIEWS.items() if findings.views[view]["applied"].batches
    }
    rows = tuple(
        (
            name,
            f"{facts.images:.0f}",
            f"{facts.norm.value:.3g}",
            "-"
            if math.isnan(facts.pull_share.value)
            else f"{100.0 * facts.pull_share.value:.0f} %",
            _with_interval(facts.reliability),
            *(_with_interval(findings.views[v]["applied"].per_reward[name].cosine) for v in views),
        )
        for name, facts in findings.rewards.items()
    )
    header = ("reward", "images", "norm", "pull", "split halves", *views.values())
    return ReportTable(header, rows)


def _with_interval(estimate: Estimate) -> str:
    return f"{_signed(estimate)} {interval(estimate)}".rstrip()


def _signed(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return "-"
    return f"{estimate.value:+.2f}{doubtful(estimate)}"


def _applied(record: ConflictRecord) -> FloatArray:
    cosines = record.cosines.get("applied", (None,) * len(record.rewards))
    return np.array(cosines, dtype=np.float64)


def _rows(
    records: Sequence[ConflictRecord],
    rewards: Sequence[str],
    values: Callable[[ConflictRecord], FloatArray],
) -> tuple[Row, ...]:
    columns = np.stack([by_name(record, rewards, values(record)) for record in records]).T
    return tuple(Row(name, _values(column)) for name, column in zip(rewards, columns, strict=True))


def _values(column: FloatArray) -> list[float | None]:
    return [None if math.isnan(value) else value for value in column.tolist()]
