"""JSON documents: their common parts, and how a table is drawn in one.

The keys are a contract with users' scripts. Null stands for no value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import typer

from marblecli.conflicts.estimates import Estimate
from marblecli.conflicts.summaries import DirectionSummary
from marblecli.report.tables import Cell, Change, Judged, MeanCosine, Table, WeightedCosine
from marblecli.types import Json

SCHEMA = 1
"""The version of the documents' form; a change that breaks scripts raises it."""


def print_document(document: Mapping[str, Json]) -> None:
    """Print one JSON document on stdout."""
    typer.echo(json.dumps({**document, "schema": SCHEMA}, indent=2, allow_nan=False))


def table_json(table: Table) -> dict[str, Json]:
    """A table with its columns' kinds; every row has one entry for each column."""
    return {
        "title": table.title,
        "explanation": table.explanation,
        "columns": [
            {
                "title": column.title,
                "kind": column.kind,
                "note": column.note,
                "chance": column.chance,
            }
            for column in table.columns
        ],
        "rows": [[_cell_json(cell) for cell in row] for row in table.rows],
        "notes": list(table.notes),
    }


def direction_json(summary: DirectionSummary) -> dict[str, Json]:
    """How a direction treats the rewards."""
    return {
        "batches": summary.batches,
        "fought_share": or_none(summary.conflict_share.value),
        "worst_cosine_mean": or_none(summary.worst_cosine.value),
        "worst_reward": summary.worst_reward,
        "intervals": {
            "fought_share": interval_json(summary.conflict_share),
            "worst_cosine_mean": interval_json(summary.worst_cosine),
        },
        "per_reward": {
            name: {
                "fought_share": or_none(reward.conflict_share.value),
                "cosine_mean": or_none(reward.cosine.value),
                "cosine_worst": or_none(reward.cosine_worst),
                "intervals": {
                    "fought_share": interval_json(reward.conflict_share),
                    "cosine_mean": interval_json(reward.cosine),
                },
            }
            for name, reward in summary.per_reward.items()
        },
    }


def interval_json(estimate: Estimate) -> list[float] | None:
    """[low, high], or null where there is no interval."""
    bounds = [estimate.low, estimate.high]
    return bounds if all(map(math.isfinite, bounds)) else None


def or_none(value: float) -> float | None:
    """A float as JSON has it: null where it isn't finite."""
    return value if math.isfinite(value) else None


def _cell_json(cell: Cell) -> Json:
    if isinstance(cell, MeanCosine):
        return {
            **_estimate_json(cell.estimate),
            "fought_share": None if cell.conflict_share is None else or_none(cell.conflict_share),
            "reward": cell.reward,
        }
    if isinstance(cell, Judged):
        return {**_estimate_json(cell.estimate), "verdict": cell.verdict}
    if isinstance(cell, Change):
        bounds = [or_none(cell.low), or_none(cell.high)]
        return {"value": or_none(cell.value), "interval": None if None in bounds else bounds}
    if isinstance(cell, WeightedCosine):
        return {"value": or_none(cell.cosine), "simplex_weight": or_none(cell.simplex_weight)}
    return or_none(cell) if isinstance(cell, float) else cell


def _estimate_json(estimate: Estimate) -> dict[str, Json]:
    return {"value": or_none(estimate.value), "interval": interval_json(estimate)}
