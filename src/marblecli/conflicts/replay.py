"""What a method would have chosen on measured batches.

Nothing is sampled or trained again: the records hold all the inner products that a method needs.
:func:`replay` is the only place of this room where methods are run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from marblecli.conflicts.record import ConflictRecord
from marblecli.conflicts.views import SolvedOn
from marblecli.errors import BadInputError, MarbleError
from marblecli.methods.schedule import MethodSchedule, MethodState
from marblecli.types import Balance, FloatArray, GradientStats, PartGrams

if TYPE_CHECKING:
    from marblecli.settings import BalanceSettings


def replay(
    settings: BalanceSettings,
    loss_weights: Mapping[str, float],
    batches: Iterable[tuple[int, GradientStats, PartGrams | None]],
) -> Iterator[Balance | MarbleError]:
    """Yield the method's choice for each batch (step, gradients, parts), or why it has none.

    Its memory, phases and turns go on from batch to batch, and start anew where the rewards change.
    ``loss_weights`` are by reward, and 1 where absent. Raises BadInputError for settings that name
    unknown rewards or need a library that isn't installed.
    """
    schedule, state, names = MethodSchedule.of(settings), MethodState(), None
    for step, stats, parts in batches:
        if stats.names != names:
            state, names = MethodState(), stats.names
        weights = np.array([loss_weights.get(name, 1.0) for name in names])
        try:
            chosen, state = schedule.next(stats, weights, step, state, parts)
        except BadInputError:
            raise
        except MarbleError as error:
            yield error
        else:
            yield chosen


def replay_records(
    records: Sequence[ConflictRecord],
    settings: BalanceSettings,
    loss_weights: Mapping[str, float],
    solved_on: SolvedOn,
) -> list[tuple[FloatArray | None, ...]]:
    """For every record, the coefficients [K] chosen on its batch, or on each of its two halves.

    None stands where the record lacks the parts, or the method can't combine them. Raises what
    :func:`replay` raises.
    """
    chosen = [
        _coefficients(records, solved, settings, loss_weights)
        for solved in _solved(records, solved_on)
    ]
    return list(zip(*chosen, strict=True))


_Solved = tuple[FloatArray, PartGrams | None]
"""A Gram [K, K] that a method is run on, and the parts that go with it."""


def _solved(records: Sequence[ConflictRecord], solved_on: SolvedOn) -> list[list[_Solved | None]]:
    """What a method sees of every record, for each of the ways in which a batch is solved.

    A half has no parts of its own.
    """
    parts = [record.part_grams for record in records]
    if solved_on == "batch":
        pairs = zip(records, parts, strict=True)
        return [[(np.array(record.gram), each) for record, each in pairs]]
    return [
        [None if each is None else (each.first, None) for each in parts],
        [None if each is None else (each.second, None) for each in parts],
    ]


def _coefficients(
    records: Sequence[ConflictRecord],
    solved: Sequence[_Solved | None],
    settings: BalanceSettings,
    loss_weights: Mapping[str, float],
) -> list[FloatArray | None]:
    batches = (
        (record.step, GradientStats(record.rewards, seen[0], np.diag(seen[0]) > 0.0), seen[1])
        for record, seen in zip(records, solved, strict=True)
        if seen is not None
    )
    chosen = replay(settings, loss_weights, batches)
    return [None if seen is None else _usable(next(chosen)) for seen in solved]


def _usable(chosen: Balance | MarbleError) -> FloatArray | None:
    return None if isinstance(chosen, MarbleError) else chosen.coefficients
