"""What ``marble inspect-conflicts`` does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import typer
from rich.markup import escape

from marblecli.cli.render import cosine, or_none, out, share, table
from marblecli.maths.conflicts import (
    RECORDED_DIRECTIONS,
    DirectionSummary,
    PairSummary,
    batch_cosines,
    judge,
    reward_names,
    who_fights_whom,
)
from marblecli.runs.records import read_conflicts
from marblecli.types import ConflictRecord, Json

SHOWN_BATCHES = 20
"""Batches of the table without ``--all``: the last ones."""

_CAUTION = (
    "Caution: on the batch that its QP was solved for, marble fights no reward by theorem, so zero "
    "conflict there is no evidence; look at the update that really happened, and at fresh batches."
)


def inspect_run(run_dir: Path, balancers: Sequence[str], *, show_all: bool, as_json: bool) -> None:
    """Read, judge, print. Raises BadInputError for an unusable run directory or balancer."""
    records = read_conflicts(run_dir)
    directions = {
        name: judge(records, name) for name in dict.fromkeys((*RECORDED_DIRECTIONS, *balancers))
    }
    pairs = who_fights_whom(records)
    if as_json:
        typer.echo(json.dumps(_document(records, directions, pairs), indent=2, allow_nan=False))
        return
    _show_batches(records if show_all else records[-SHOWN_BATCHES:], len(records))
    _show_directions(directions)
    _show_pairs(pairs)
    out.print(_CAUTION)


def _document(
    records: Sequence[ConflictRecord],
    directions: Mapping[str, DirectionSummary],
    pairs: Sequence[PairSummary],
) -> Json:
    return _jsonable(
        {
            "batches": len(records),
            "rewards": list(reward_names(records)),
            "directions": {name: asdict(summary) for name, summary in directions.items()},
            "pairs": [asdict(pair) for pair in pairs],
        }
    )


def _jsonable(value: Json) -> Json:
    if isinstance(value, float):
        return or_none(value)
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    return [_jsonable(item) for item in value] if isinstance(value, list) else value


def _show_batches(shown: Sequence[ConflictRecord], total: int) -> None:
    names = reward_names(shown)
    columns = (*names, "worst", "worst of weighted-sum", "fought")
    batches = table("Cosines of each reward's gradient with the applied direction", "step", columns)
    for record in shown:
        applied = dict(zip(record.rewards, batch_cosines(record, "applied"), strict=True))
        fought = [escape(name) for name, value in applied.items() if value < 0.0]
        batches.add_row(
            str(record.step),
            *(cosine(applied.get(name)) for name in names),
            cosine(_worst(record, "applied")),
            cosine(_worst(record, "weighted-sum")),
            ", ".join(fought) or "-",
        )
    out.print(batches)
    if len(shown) < total:
        out.print(f"{total - len(shown)} earlier batches left out; --all shows them.")


def _worst(record: ConflictRecord, direction: str) -> float | None:
    cosines = batch_cosines(record, direction)
    there = cosines[~np.isnan(cosines)]
    return float(there.min()) if len(there) else None


def _show_directions(directions: Mapping[str, DirectionSummary]) -> None:
    columns = ("batches", "share that fights a reward", "mean worst cosine")
    summaries = table("Over all measured batches", "direction", columns)
    for name, summary in directions.items():
        summaries.add_row(
            escape(name),
            str(summary.batches),
            share(summary.fought_share),
            cosine(summary.worst_cosine_mean),
        )
    out.print(summaries)
    rewards = list(dict.fromkeys(key for each in directions.values() for key in each.per_reward))
    details = table("Mean cosine (share of batches fought)", "direction", rewards)
    for name, summary in directions.items():
        cells = (
            f"{cosine(reward.cosine_mean)} ({share(reward.fought_share)})"
            for reward in summary.per_reward.values()
        )
        details.add_row(escape(name), *cells)
    out.print(details)


def _show_pairs(pairs: Sequence[PairSummary]) -> None:
    columns = ("batches", "mean cosine", "share at odds")
    fights = table("Who fights whom: cosines between the rewards' gradients", "pair", columns)
    for pair in pairs:
        fights.add_row(
            escape(f"{pair.first} - {pair.second}"),
            str(pair.batches),
            cosine(pair.cosine_mean),
            share(pair.fought_share),
        )
    if pairs:
        out.print(fights)
