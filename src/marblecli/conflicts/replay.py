"""What a method would have chosen on measured batches.

Nothing is sampled or trained again: the records hold all the inner products that a method needs.
:func:`replay` is the only place of this room where methods are run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from marblecli.conflicts.record import ConflictRecord
from marblecli.conflicts.views import SolvedOn
from marblecli.errors import BadInputError, MarbleError
from marblecli.methods.schedule import MethodSchedule, MethodState
from marblecli.types import (
    Balance,
    FloatArray,
    GradientStats,
    PartGrams,
    ScoreStats,
    SignalEstimate,
)

if TYPE_CHECKING:
    from marblecli.settings import BalanceSettings


@dataclass(frozen=True)
class SeenBatch:
    """What a method is given of one batch."""

    step: int
    stats: GradientStats
    parts: PartGrams | None = None
    """None where the batch wasn't measured in parts."""
    scores: ScoreStats | None = None
    """None where only gradients are known."""
    signal: SignalEstimate | None = None
    """None where gradients weren't remembered, and in the first batch."""


def replay(
    settings: BalanceSettings,
    loss_weights: Mapping[str, float],
    batches: Iterable[SeenBatch],
) -> Iterator[Balance | MarbleError]:
    """Yield the method's choice for each batch, or why it has none.

    Its memory, phases and turns go on from batch to batch, and start anew where the rewards change.
    ``loss_weights`` are by reward, and 1 where absent. Raises BadInputError for settings that name
    unknown rewards or need a library that isn't installed.
    """
    schedule, state, names = MethodSchedule.of(settings), MethodState(), None
    for seen in batches:
        if seen.stats.names != names:
            state, names = MethodState(), seen.stats.names
        weights = np.array([loss_weights.get(name, 1.0) for name in names])
        try:
            chosen, state = schedule.next(
                seen.stats, weights, seen.step, state, seen.parts, seen.scores, seen.signal
            )
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
    :func:`replay` raises, and BadInputError if a method needs scores, or the signal that batches
    share, and no record has them.
    """
    _check_needs(records, settings)
    chosen = [
        _coefficients(solved, settings, loss_weights) for solved in _solved(records, solved_on)
    ]
    return list(zip(*chosen, strict=True))


def _check_needs(records: Sequence[ConflictRecord], settings: BalanceSettings) -> None:
    scores = any(record.scores is not None for record in records)
    signal = any(record.signal is not None for record in records)
    for each in MethodSchedule.of(settings).methods:
        if each.spec.needs.signal and not signal:
            raise BadInputError(
                f"the method {each.spec.name} needs the signal that batches share, which these "
                "records don't hold: only runs that are trained by such a method, for at least two "
                f"steps, record it (--set balance.method={each.spec.name})"
            )
        if each.spec.needs.scores and not scores:
            raise BadInputError(
                f"the method {each.spec.name} needs the scores of the measured batches, which "
                "these records, of an older version, don't hold: measure batches anew with "
                "`marble inspect-conflicts RECIPE`"
            )


def _solved(records: Sequence[ConflictRecord], solved_on: SolvedOn) -> list[list[SeenBatch | None]]:
    """What a method sees of every record, for each of the ways in which a batch is solved.

    A half has no parts of its own, and the scores of its batch. Its signal is what was known before
    its batch, so that it holds nothing of the other half.
    """
    parts = [record.part_grams for record in records]
    pairs = list(zip(records, parts, strict=True))
    if solved_on == "batch":
        return [[_seen(record, np.array(record.gram), each) for record, each in pairs]]
    earlier = [None, *records[:-1]]
    known = [_earlier_signal(record, last) for record, last in zip(records, earlier, strict=True)]
    half = [(record, each, s) for (record, each), s in zip(pairs, known, strict=True)]
    return [
        [None if each is None else _seen_half(record, each.first, s) for record, each, s in half],
        [None if each is None else _seen_half(record, each.second, s) for record, each, s in half],
    ]


def _seen(record: ConflictRecord, gram: FloatArray, parts: PartGrams | None = None) -> SeenBatch:
    stats = GradientStats(record.rewards, gram, np.diag(gram) > 0.0)
    scores = None if record.scores is None else record.scores.stats
    signal = None if record.signal is None else record.signal.estimate
    return SeenBatch(record.step, stats, parts, scores, signal)


def _seen_half(
    record: ConflictRecord, gram: FloatArray, signal: SignalEstimate | None
) -> SeenBatch:
    seen = _seen(record, gram)
    if signal is not None and not (signal.norms[seen.stats.usable] > 0.0).all():
        signal = None  # A reward that is usable here wasn't in the batch before.
    return replace(seen, signal=signal)


def _earlier_signal(record: ConflictRecord, last: ConflictRecord | None) -> SignalEstimate | None:
    if last is None or last.signal is None or last.rewards != record.rewards:
        return None
    return last.signal.estimate


def _coefficients(
    solved: Sequence[SeenBatch | None],
    settings: BalanceSettings,
    loss_weights: Mapping[str, float],
) -> list[FloatArray | None]:
    chosen = replay(settings, loss_weights, (seen for seen in solved if seen is not None))
    return [None if seen is None else _usable(next(chosen)) for seen in solved]


def _usable(chosen: Balance | MarbleError) -> FloatArray | None:
    return None if isinstance(chosen, MarbleError) else chosen.coefficients
