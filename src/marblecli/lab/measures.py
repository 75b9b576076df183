"""What a cell has cost, how far it went from the base model, and its conflicts on fresh images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from marblecli.conflicts.record import ConflictRecord
from marblecli.types import EvaluationRecord, Json

BACKWARD = 1.12
"""Forward passes that a backward pass to the adapters is worth, as torch counts SD3.5 Medium's."""


@dataclass(frozen=True)
class Measures:
    """Means over a method's cells; NaN where nothing was recorded."""

    distance: float
    """The mean squared velocity difference from the base model, at the end."""
    passes: float
    """Forward passes of one image in all steps, a backward pass counted 1.12. Those of
    evaluations and of measurements on fresh images aren't counted."""
    seconds: float
    """Of all steps, without evaluations."""
    fresh_conflicts: float
    """On fresh images, the share of (batch, reward) at which the applied direction has a negative
    cosine with the reward's signal."""
    fresh_worst: float
    """The least mean of these cosines over the rewards."""


def measures_of(cells: Sequence[Measures]) -> Measures:
    """The mean over the cells of a method, at least one."""
    return Measures(
        *(_mean([getattr(cell, name) for cell in cells]) for name in Measures.__dataclass_fields__)
    )


def cell_measures(
    metrics: Sequence[Mapping[str, Json]],
    conflicts: Sequence[ConflictRecord],
    last: EvaluationRecord,
    split: str,
) -> Measures:
    """Of one finished cell, whose last evaluation is ``last``."""
    counted = [line["passes"] for line in metrics if "passes" in line]
    fresh = [
        cosines
        for record in conflicts
        if record.fresh is not None
        and (cosines := record.fresh.signal_cosines.get("applied")) is not None
    ]
    known = [value for cosines in fresh for value in cosines if value is not None]
    by_reward = [[v for v in column if v is not None] for column in zip(*fresh, strict=True)]
    return Measures(
        distance=last.distances.get(split, math.nan),
        passes=math.fsum(each["forward"] + BACKWARD * each["backward"] for each in counted)
        if counted
        else math.nan,
        seconds=math.fsum(line.get("seconds", 0.0) for line in metrics),
        fresh_conflicts=_mean([float(value < 0.0) for value in known]),
        fresh_worst=min((fmean(column) for column in by_reward if column), default=math.nan),
    )


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return fmean(known) if known else math.nan
