"""The views of a batch: by which vectors a direction is judged, and on which it was solved.

=================  ================================================================================
``batch``          the batch's own gradients
``signal``         their signal: the part that carries the rewards
``held-out``       the signal of one half, for what was solved on the other half, both ways
``fresh``          the gradients of new images
``fresh-signal``   their signal
=================  ================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from marblecli.conflicts.record import ConflictRecord, Cosines, Matrix
from marblecli.conflicts.vectors import cosines_with, direction_length, signal_norms
from marblecli.types import FloatArray

SolvedOn = Literal["batch", "halves"]


@dataclass(frozen=True)
class Trial:
    """Gradients g_l that are combined, and vectors v_k by which the combination is judged."""

    gram: FloatArray
    """[K, K], of the g_l."""
    products: FloatArray
    """[K, K], <v_k, g_l>."""
    norms: FloatArray
    """[K], of the v_k."""

    def cosines(self, coefficients: FloatArray) -> FloatArray:
        """[K], of the v_k with sum_l coefficients_l g_l."""
        length = direction_length(self.gram, coefficients)
        return cosines_with(self.products, self.norms, coefficients, length)


@dataclass(frozen=True)
class View:
    """By what a direction is judged."""

    trials: Callable[[ConflictRecord], tuple[Trial, ...]]
    """Empty where the batch wasn't measured in this way."""
    recorded: Callable[[ConflictRecord], Cosines]
    """The cosines that the record itself holds, by name of the direction."""
    solved_on: SolvedOn = "batch"
    """What a method is given: the gradients of the batch, or the signal of each half in turn."""


def _whole(record: ConflictRecord) -> tuple[Trial, ...]:
    gram = np.array(record.gram)
    return (Trial(gram, gram, np.sqrt(np.diag(gram))),)


def _signal(record: ConflictRecord) -> tuple[Trial, ...]:
    parts = record.part_grams
    if parts is None:
        return ()
    return (Trial(np.array(record.gram), parts.signal + parts.signal_pull, signal_norms(parts)),)


def _held_out(record: ConflictRecord) -> tuple[Trial, ...]:
    parts = record.part_grams
    if parts is None:
        return ()
    return (
        Trial(parts.first, parts.cross.T, np.sqrt(np.diag(parts.second))),
        Trial(parts.second, parts.cross, np.sqrt(np.diag(parts.first))),
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
    return Trial(np.array(record.gram), np.array(products), np.array(norms))


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
"""The views by name; see the table at the head of this module."""


def slice_view(name: str) -> View:
    """The signal of some rows of the batch, under the name that the record gives them."""

    def trials(record: ConflictRecord) -> tuple[Trial, ...]:
        found = record.slices.get(name)
        return () if found is None else (_against(record, found.products, found.norms),)

    def recorded(record: ConflictRecord) -> Cosines:
        found = trials(record)
        if not found:
            return {}
        return {"applied": tuple(found[0].cosines(np.array(record.coefficients)).tolist())}

    return View(trials, recorded)
