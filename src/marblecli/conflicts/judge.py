"""How a direction, recorded or replayed, treats the rewards in every view."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from marblecli.conflicts.columns import by_name, reward_names
from marblecli.conflicts.record import ConflictRecord
from marblecli.conflicts.replay import replay_records
from marblecli.conflicts.summaries import DirectionSummary, summarise
from marblecli.conflicts.views import VIEWS, SolvedOn, View
from marblecli.types import FloatArray

if TYPE_CHECKING:
    from marblecli.settings import BalanceSettings


@dataclass(frozen=True)
class Direction:
    """A direction to judge: by its recorded cosines, and where a batch has none, by replay."""

    name: str
    """``applied``, ``update`` and ``weighted-sum`` are recorded."""
    balance: BalanceSettings | None = None
    """The settings to replay; None where only the recorded cosines count."""
    loss_weights: Mapping[str, float] = field(default_factory=dict)
    """By reward, and 1 where absent; for the method ``weighted-sum``."""


def judge(
    records: Sequence[ConflictRecord], direction: Direction, views: Mapping[str, View] = VIEWS
) -> dict[str, DirectionSummary]:
    """How ``direction`` treats the rewards of all records, by view.

    Batches in which the direction can't be formed are left out. Raises BadInputError if its
    settings name unknown rewards or need a library that isn't installed.
    """
    names = reward_names(records)
    replayed = {
        solved_on: _replayed(records, direction, solved_on)
        for solved_on in _to_replay(records, direction, views)
    }
    found = {}
    for key, view in views.items():
        chosen = replayed.get(view.solved_on, [()] * len(records))
        rows = [
            [by_name(record, names, way) for way in _ways(record, direction, view, coefficients)]
            for record, coefficients in zip(records, chosen, strict=True)
        ]
        found[key] = summarise(names, _stacked(rows, len(names)))
    return found


def _to_replay(
    records: Sequence[ConflictRecord], direction: Direction, views: Mapping[str, View]
) -> set[SolvedOn]:
    """What the direction has to be solved on, because some record doesn't hold its cosines."""
    return {
        view.solved_on
        for view in views.values()
        if any(direction.name not in view.recorded(record) for record in records)
    }


def _replayed(
    records: Sequence[ConflictRecord], direction: Direction, solved_on: SolvedOn
) -> list[tuple[FloatArray | None, ...]]:
    if direction.balance is None:
        return [()] * len(records)
    return replay_records(records, direction.balance, direction.loss_weights, solved_on)


def _ways(
    record: ConflictRecord,
    direction: Direction,
    view: View,
    chosen: Sequence[FloatArray | None],
) -> Iterator[FloatArray | Sequence[float | None]]:
    """Cosines [K] for each way in which the view judges a batch; nothing where it can't."""
    recorded = view.recorded(record)
    if direction.name in recorded:
        yield recorded[direction.name]
    elif chosen:
        # A batch without the view's data has no trial, whatever was chosen on it.
        for trial, coefficients in zip(view.trials(record), chosen, strict=False):
            if coefficients is not None:
                yield trial.cosines(coefficients)


def _stacked(rows: Sequence[Sequence[FloatArray]], count: int) -> FloatArray:
    """[batches, W, K] of at most W ways a batch; NaN where there are fewer."""
    width = max(1, *(len(ways) for ways in rows))
    stacked = np.full((len(rows), width, count), np.nan)
    for row, ways in zip(stacked, rows, strict=True):
        if ways:
            row[: len(ways)] = ways
    return stacked
