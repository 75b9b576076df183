"""What a balance would have done on measured batches, judged on data that it didn't see.

Only the Grams and products of the records are needed: nothing is sampled or trained again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np

from marblecli.conflicts.vectors import (
    DirectionSummary,
    by_name,
    cosines_with,
    direction_length,
    reward_names,
    summarise,
)
from marblecli.errors import BadInputError, MarbleError
from marblecli.methods.balance import BalanceState, next_balance
from marblecli.types import GradientStats

if TYPE_CHECKING:
    from marblecli.settings import BalanceSettings
    from marblecli.types import Balance, ConflictRecord, Cosines, FloatArray, Matrix, SliceRecord


SolvedOn = Literal["batch", "halves"]


@dataclass(frozen=True)
class Direction:
    """A direction to judge: its recorded cosines where a batch has them, else its balance's."""

    name: str
    """``applied``, ``update`` and ``weighted-sum`` are recorded."""
    balance: BalanceSettings | None = None
    """What it would have chosen; None where only recorded cosines count."""
    loss_weights: Mapping[str, float] = field(default_factory=dict)
    """By reward, 1 where absent; for the method ``weighted-sum``."""


@dataclass(frozen=True)
class Trial:
    """Gradients g_l that are combined, and vectors v_k that the combination is held against."""

    gram: FloatArray
    """[K, K], of the g_l."""
    products: FloatArray
    """[K, K], <v_k, g_l>."""
    norms: FloatArray
    """[K], of the v_k."""


@dataclass(frozen=True)
class View:
    """By what a direction is judged."""

    trials: Callable[[ConflictRecord], tuple[Trial, ...]]
    """None where the batch wasn't measured in this way."""
    recorded: Callable[[ConflictRecord], Cosines]
    """What the record itself says, by name of the direction."""
    solved_on: SolvedOn = "batch"
    """What the balance sees: the batch's gradients, or the signal of each half in turn."""


def _whole(record: ConflictRecord) -> tuple[Trial, ...]:
    gram = _gram(record)
    return (Trial(gram, gram, np.sqrt(np.diag(gram))),)


def _signal(record: ConflictRecord) -> tuple[Trial, ...]:
    if not record.parts:
        return ()
    signal = _signal_gram(record)
    products = signal + np.array(record.parts["signal_pull"])
    norms = np.sqrt(np.maximum(np.diag(signal), 0.0))
    return (Trial(_gram(record), products, norms),)


def _held_out(record: ConflictRecord) -> tuple[Trial, ...]:
    if not record.parts:
        return ()
    first, second, cross = (np.array(record.parts[key]) for key in ("first", "second", "cross"))
    return (
        Trial(first, cross.T, np.sqrt(np.diag(second))),
        Trial(second, cross, np.sqrt(np.diag(first))),
    )


def _fresh(record: ConflictRecord) -> tuple[Trial, ...]:
    fresh = record.fresh
    return () if fresh is None else (_against(record, fresh.products, fresh.norms),)


def _fresh_signal(record: ConflictRecord) -> tuple[Trial, ...]:
    fresh = record.fresh
    if fresh is None:
        return ()
    return (_against(record, fresh.signal_products, fresh.signal_norms),)


def _against(record: ConflictRecord, products: Matrix, norms: Sequence[float]) -> Trial:
    return Trial(_gram(record), np.array(products), np.array(norms))


VIEWS: Mapping[str, View] = MappingProxyType(
    {
        "batch": View(_whole, lambda record: record.cosines),
        "signal": View(_signal, lambda record: record.signal_cosines),
        "held-out": View(_held_out, lambda _: {}, solved_on="halves"),
        "fresh": View(_fresh, lambda record: record.fresh.cosines if record.fresh else {}),
        "fresh-signal": View(
            _fresh_signal, lambda record: record.fresh.signal_cosines if record.fresh else {}
        ),
    }
)
"""``batch``: its own gradients. ``signal``: their parts that carry the rewards. ``held-out``: the
signal of one half against what was solved on the other's, both ways. ``fresh``: gradients of new
images; ``fresh-signal``: their signal."""


def slice_view(name: str) -> View:
    """The signal of some rows of the batch, by the name that its record gives them."""

    def trials(record: ConflictRecord) -> tuple[Trial, ...]:
        found: SliceRecord | None = record.slices.get(name)
        return () if found is None else (_against(record, found.products, found.norms),)

    def recorded(record: ConflictRecord) -> Cosines:
        found = trials(record)
        if not found:
            return {}
        return {"applied": tuple(_cosines(found[0], np.array(record.coefficients)).tolist())}

    return View(trials, recorded)


def judge(
    records: Sequence[ConflictRecord], direction: Direction, views: Mapping[str, View] = VIEWS
) -> dict[str, DirectionSummary]:
    """How ``direction`` treats the rewards of all records, by view.

    Batches in which it can't be formed are left out. Raises BadInputError if its balance is of
    unknown rewards or needs a library that isn't installed.
    """
    names = reward_names(records)
    to_replay = {
        view.solved_on
        for view in views.values()
        if any(direction.name not in view.recorded(record) for record in records)
    }
    replays = {solved_on: _replay_all(records, direction, solved_on) for solved_on in to_replay}
    found = {}
    for key, view in views.items():
        chosen = replays.get(view.solved_on, [()] * len(records))
        rows = [
            [by_name(record, names, way) for way in _ways(record, direction, view, weights)]
            for record, weights in zip(records, chosen, strict=True)
        ]
        found[key] = summarise(names, _stacked(rows, len(names)))
    return found


def replay(
    settings: BalanceSettings,
    loss_weights: Mapping[str, float],
    batches: Iterable[tuple[int, GradientStats]],
) -> Iterator[Balance | MarbleError]:
    """What the balance would have chosen for each (step, gradients) in turn, or why it couldn't.

    Its memory, phases and turns go on from batch to batch, and start anew where the rewards change.
    Raises BadInputError as :func:`marblecli.methods.balance.next_balance` does.
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


def _replay_all(
    records: Sequence[ConflictRecord], direction: Direction, solved_on: SolvedOn
) -> list[tuple[FloatArray | None, ...]]:
    """For every record the coefficients [K] on its batch, or on each of its halves."""
    if direction.balance is None:
        return [()] * len(records)
    settings, weights = direction.balance, direction.loss_weights
    ways: list[list[FloatArray | None]]
    if solved_on == "batch":
        signal = settings.gram == "signal"
        ways = [[_signal_gram(record) if signal else _gram(record) for record in records]]
    else:
        ways = [[_part(record, half) for record in records] for half in ("first", "second")]
    chosen = [_coefficients(records, grams, settings, weights) for grams in ways]
    return list(zip(*chosen, strict=True))


def _coefficients(
    records: Sequence[ConflictRecord],
    grams: Sequence[FloatArray | None],
    settings: BalanceSettings,
    loss_weights: Mapping[str, float],
) -> list[FloatArray | None]:
    """[K] for every record, solved on its Gram [K, K]; None where there is none."""
    batches = (
        (record.step, GradientStats(record.rewards, gram, np.diag(gram) > 0.0))
        for record, gram in zip(records, grams, strict=True)
        if gram is not None
    )
    chosen = replay(settings, loss_weights, batches)
    return [None if gram is None else _usable(next(chosen)) for gram in grams]


def _gram(record: ConflictRecord) -> FloatArray:
    return np.array(record.gram)


def _signal_gram(record: ConflictRecord) -> FloatArray:
    if not record.parts:
        return _gram(record)
    first, second, cross = (np.array(record.parts[key]) for key in ("first", "second", "cross"))
    signal: FloatArray = first + second + cross + cross.T
    return signal


def _part(record: ConflictRecord, half: str) -> FloatArray | None:
    return np.array(record.parts[half]) if record.parts else None


def _ways(
    record: ConflictRecord,
    direction: Direction,
    view: View,
    chosen: Sequence[FloatArray | None],
) -> Iterator[FloatArray | Sequence[float | None]]:
    """Cosines [K], for each way in which the view judges a batch; nothing where it can't."""
    recorded = view.recorded(record)
    if direction.name in recorded:
        yield recorded[direction.name]
    elif chosen:
        for trial, coefficients in zip(view.trials(record), chosen, strict=False):
            if coefficients is not None:
                yield _cosines(trial, coefficients)


def _usable(chosen: Balance | MarbleError) -> FloatArray | None:
    return None if isinstance(chosen, MarbleError) else chosen.coefficients


def _cosines(trial: Trial, coefficients: FloatArray) -> FloatArray:
    length = direction_length(trial.gram, coefficients)
    return cosines_with(trial.products, trial.norms, coefficients, length)


def _stacked(rows: Sequence[Sequence[FloatArray]], count: int) -> FloatArray:
    """[batches, W, K] of at most W ways a batch; NaN where there are fewer."""
    width = max(1, *(len(ways) for ways in rows))
    stacked = np.full((len(rows), width, count), np.nan)
    for row, ways in zip(stacked, rows, strict=True):
        if ways:
            row[: len(ways)] = ways
    return stacked
