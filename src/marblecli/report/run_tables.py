"""The tables of a run's page: what its rewards did, how its time was spent, what it ran on."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from marblecli.report.tables import Cell, Change, Column, Table
from marblecli.types import Json, RewardChange

_SPLITS = {
    "held-out": "Held-out prompts",
    "train": "Training prompts",
}
_INTERVALS = {
    "held-out": "Prompts that were never trained on; the interval is over prompts.",
    "train": "New noise on prompts that were trained on; the interval is over noise.",
}


def split_title(split: str) -> str:
    """What a split's prompts are called in a title."""
    return _SPLITS.get(split, f"Prompts of {split}")


def changes_table(split: str, step: int, changes: Sequence[RewardChange]) -> Table:
    """Every reward at the base model and at ``step``, on the prompts of one split."""
    return Table(
        title=f"{split_title(split)}: base model and step {step}",
        columns=(
            Column("reward", "text"),
            Column("base", "number"),
            Column(f"step {step}", "number"),
            Column("change", "change", "95 % interval"),
            Column("images", "count"),
        ),
        rows=tuple(
            (
                change.reward,
                change.start,
                change.end,
                as_cell(change),
                change.images or None,
            )
            for change in changes
        ),
        explanation=_INTERVALS.get(split, ""),
    )


def as_cell(change: RewardChange) -> Change:
    """The change and its interval as a cell."""
    return Change(change.end - change.start, change.low, change.high)


def curve_table(split: str, by_step: Mapping[int, Sequence[RewardChange]]) -> Table:
    """The change of every reward since the base model, evaluation by evaluation."""
    names = dict.fromkeys(change.reward for each in by_step.values() for change in each)
    rows: list[tuple[Cell, ...]] = []
    for step, changes in by_step.items():
        found = {change.reward: as_cell(change) for change in changes}
        rows.append((str(step), *(found.get(name) for name in names)))
    return Table(
        title=f"{split_title(split)}: change since the base model, by step",
        columns=(Column("step", "text"), *(Column(name, "change") for name in names)),
        rows=tuple(rows),
    )


def time_table(metrics: Sequence[Mapping[str, Json]]) -> Table:
    """The seconds of each phase of the steps: a step's mean, their share, and all of them."""
    totals = phase_totals(metrics)
    whole = math.fsum(totals.values())
    return Table(
        title="Seconds by phase of the optimizer steps",
        columns=(
            Column("phase", "text"),
            Column("seconds a step", "number"),
            Column("share", "share"),
            Column("seconds of all steps", "number"),
        ),
        rows=tuple(
            (name, total / len(metrics), total / whole if whole else math.nan, total)
            for name, total in totals.items()
        ),
    )


def phase_totals(metrics: Sequence[Mapping[str, Json]]) -> dict[str, float]:
    """Seconds by phase over all steps; what no phase has is ``other``, or the whole ``step``."""
    totals: dict[str, float] = {}
    for line in metrics:
        for name, seconds in line.get("phases", {}).items():
            totals[name] = totals.get(name, 0.0) + seconds
    whole = math.fsum(line.get("seconds", 0.0) for line in metrics)
    rest = whole - math.fsum(totals.values())
    if not totals:
        return {"whole step": whole}
    return {**totals, "other": rest} if rest > 0.005 * whole else totals


def facts_table(title: str, facts: Mapping[str, str]) -> Table:
    """Names with their values."""
    return Table(
        title=title,
        columns=(Column("", "text"), Column("value", "text")),
        rows=tuple(facts.items()),
    )


def median_seconds(metrics: Sequence[Mapping[str, Json]]) -> float:
    """The median seconds of a step; NaN without a step."""
    found = [line["seconds"] for line in metrics if "seconds" in line]
    return statistics.median(found) if found else math.nan
