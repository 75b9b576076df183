"""The values of records as arrays with one column for each reward of the whole run.

A record lists its own rewards in its own order; ``names`` are those of all records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from marblecli.conflicts.record import ConflictRecord
from marblecli.conflicts.vectors import half_cosines, pairwise_cosines
from marblecli.types import FloatArray


def reward_names(records: Sequence[ConflictRecord]) -> tuple[str, ...]:
    """Every reward of the records, in the order in which they appear."""
    return tuple(dict.fromkeys(name for record in records for name in record.rewards))


def rewards_without_images(records: Sequence[ConflictRecord]) -> tuple[str, ...]:
    """The rewards that scored no image of any batch: they failed, or applied to no prompt."""
    scored = {
        name
        for record in records
        for name, count in zip(record.rewards, record.valid, strict=True)
        if count
    }
    return tuple(name for name in reward_names(records) if name not in scored)


def by_name(
    record: ConflictRecord, names: Sequence[str], values: Sequence[float | None] | FloatArray
) -> FloatArray:
    """[K], the ``values`` of the record's rewards in the order of ``names``; NaN for the others."""
    row = np.full(len(names), np.nan)
    row[_places(record, names)] = np.array(values, dtype=np.float64)
    return row


def column_each(
    records: Sequence[ConflictRecord],
    values: Callable[[ConflictRecord], Sequence[float | None] | FloatArray],
) -> FloatArray:
    """[batches, K], from the ``values`` of each record's rewards."""
    names = reward_names(records)
    return np.stack([by_name(record, names, values(record)) for record in records])


def gradient_cosines(record: ConflictRecord, names: Sequence[str]) -> FloatArray:
    """[K, K], cosines between the gradients of one batch; NaN where one of them is absent."""
    return _square(record, names, pairwise_cosines(np.array(record.gram)))


def named_half_cosines(record: ConflictRecord, names: Sequence[str]) -> FloatArray:
    """[K, K], the cosines between the halves of one batch; NaN where they weren't measured."""
    parts = record.part_grams
    count = len(record.rewards)
    found = np.full((count, count), np.nan) if parts is None else half_cosines(parts)
    return _square(record, names, found)


def _square(record: ConflictRecord, names: Sequence[str], found: FloatArray) -> FloatArray:
    places = _places(record, names)
    square = np.full((len(names), len(names)), np.nan)
    square[np.ix_(places, places)] = found
    return square


def _places(record: ConflictRecord, names: Sequence[str]) -> list[int]:
    return [names.index(name) for name in record.rewards]
