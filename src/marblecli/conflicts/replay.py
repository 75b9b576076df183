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
from marblecli.methods.balance import BalanceState, next_balance
from marblecli.types import Balance, FloatArray, GradientStats

if TYPE_CHECKING:
    from marblecli.settings import BalanceSettings


def replay(
    settings: BalanceSettings,
    loss_weights: Mapping[str, float],
    batches: Iterable[tuple[int, GradientStats]],
) -> Iterator[Balance | MarbleError]:
    """Yield what the method would have chosen for each (step, gradients), or why it couldn't.

    Its memory, phases and turns go on from batch to batch, and start anew where the rewards change.
    ``loss_weights`` are by reward, and 1 where absent. Raises BadInputError for settings that name
    unknown rewards or need a library that isn't installed.
    """
    state, names = BalanceState(), None
    for step, stats in batches:
        if stats.names != names:
            state, names = BalanceState(), stats.names
        weights = np.array([loss_weights.get(name, 1.0) for name in names])
        try:
            chosen, state = next_balance(stats, settings, weights, step, state)
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
        _coefficients(records, grams, settings, loss_weights)
        for grams in _grams(records, settings, solved_on)
    ]
    return list(zip(*chosen, strict=True))


def _grams(
    records: Sequence[ConflictRecord], settings: BalanceSettings, solved_on: SolvedOn
) -> list[list[FloatArray | None]]:
    """The Gram [K, K] of every record, for each of the ways in which a batch is solved."""
    parts = [record.part_grams for record in records]
    if solved_on == "halves":
        return [
            [None if each is None else each.first for each in parts],
            [None if each is None else each.second for each in parts],
        ]
    whole = [np.array(record.gram) for record in records]
    if settings.gram == "whole":
        return [[*whole]]
    return [
        [gram if each is None else each.signal for gram, each in zip(whole, parts, strict=True)]
    ]


def _coefficients(
    records: Sequence[ConflictRecord],
    grams: Sequence[FloatArray | None],
    settings: BalanceSettings,
    loss_weights: Mapping[str, float],
) -> list[FloatArray | None]:
    batches = (
        (record.step, GradientStats(record.rewards, gram, np.diag(gram) > 0.0))
        for record, gram in zip(records, grams, strict=True)
        if gram is not None
    )
    chosen = replay(settings, loss_weights, batches)
    return [None if gram is None else _usable(next(chosen)) for gram in grams]


def _usable(chosen: Balance | MarbleError) -> FloatArray | None:
    return None if isinstance(chosen, MarbleError) else chosen.coefficients
