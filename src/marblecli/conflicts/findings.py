"""Records of measured batches -> everything that ``inspect-conflicts`` says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from marblecli.conflicts.estimates import Estimate, estimate_means, half_cosines, shared_signal
from marblecli.conflicts.vectors import (
    DirectionSummary,
    PairSummary,
    by_name,
    reward_names,
    who_fights_whom,
)
from marblecli.conflicts.views import VIEWS, Direction, judge, slice_view

if TYPE_CHECKING:
    from marblecli.types import ConflictRecord, FloatArray


@dataclass(frozen=True)
class RewardFacts:
    """What one reward's gradient is made of."""

    images: float
    """Mean number of images of a batch that it applies to."""
    norm: Estimate
    pull_share: Estimate
    """Norm of the pull towards the old policy over the norm of the whole gradient."""
    reliability: Estimate
    """The cosine between the signals of a batch's two halves."""


@dataclass(frozen=True)
class Findings:
    """What the measured batches of a run tell."""

    rewards: Mapping[str, RewardFacts]
    pairs: tuple[PairSummary, ...]
    views: Mapping[str, Mapping[str, DirectionSummary]]
    """By view of :data:`marblecli.conflicts.views.VIEWS`, then by direction."""
    slices: Mapping[str, Mapping[str, DirectionSummary]]
    """By name of the slice, then by direction."""


def find(records: Sequence[ConflictRecord], directions: Sequence[Direction]) -> Findings:
    """Judge every direction in every view. Raises what ``views.judge`` raises.

    ``records`` holds at least one batch.
    """
    slices = dict.fromkeys(name for record in records for name in record.slices)
    views = {**VIEWS, **{_SLICE + name: slice_view(name) for name in slices}}
    judged = {direction.name: judge(records, direction, views) for direction in directions}

    def by_direction(view: str) -> dict[str, DirectionSummary]:
        return {name: summaries[view] for name, summaries in judged.items()}

    return Findings(
        rewards=_reward_facts(records),
        pairs=who_fights_whom(records),
        views={view: by_direction(view) for view in VIEWS},
        slices={name: by_direction(_SLICE + name) for name in slices},
    )


_SLICE = "slice "


def _reward_facts(records: Sequence[ConflictRecord]) -> dict[str, RewardFacts]:
    names = reward_names(records)
    halves = np.stack([half_cosines(record, names) for record in records])
    norms = estimate_means(_column_each(records, lambda record: np.array(record.norms)))
    pulls = estimate_means(_column_each(records, _pull_share))
    images = estimate_means(_column_each(records, lambda record: np.array(record.valid)))
    columns = zip(names, images, norms, pulls, shared_signal(halves).reliability, strict=True)
    return {
        name: RewardFacts(count.value, norm, pull, reliability)
        for name, count, norm, pull, reliability in columns
    }


def _column_each(
    records: Sequence[ConflictRecord], values: Callable[[ConflictRecord], FloatArray]
) -> FloatArray:
    """[batches, K] from ``values`` [K] of a record."""
    names = reward_names(records)
    return np.stack([by_name(record, names, values(record)) for record in records])


def _pull_share(record: ConflictRecord) -> FloatArray:
    """[K], ||p_k|| / ||g_k||; NaN where unmeasured or the gradient is zero."""
    norms = np.array(record.norms)
    shares = np.full(len(norms), np.nan)
    if record.parts:
        pulls = np.sqrt(np.diag(record.parts["pull"]))
        np.divide(pulls, norms, out=shares, where=norms > 0.0)
    return shares
