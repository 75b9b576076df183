"""Records of measured batches -> everything that ``marble inspect-conflicts`` says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from marblecli.conflicts.chance import Levels, chance_levels
from marblecli.conflicts.columns import (
    column_each,
    named_half_cosines,
    reward_names,
    rewards_without_images,
)
from marblecli.conflicts.estimates import Estimate, estimate_means, shared_signal
from marblecli.conflicts.judge import Direction, judge
from marblecli.conflicts.pairs import PairSummary, pairs_of
from marblecli.conflicts.record import ConflictRecord
from marblecli.conflicts.summaries import DirectionSummary
from marblecli.conflicts.vectors import ratios
from marblecli.conflicts.verdict import Verdict, give_verdict
from marblecli.conflicts.views import VIEWS, slice_view
from marblecli.types import FloatArray


@dataclass(frozen=True)
class RewardFacts:
    """What one reward's gradient is made of."""

    images: float
    """The mean number of images of a batch that it scored."""
    norm: Estimate
    pull_share: Estimate
    """The norm of the pull towards the old policy over the norm of the whole gradient."""
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
    without_images: tuple[str, ...] = ()
    """The rewards that scored no image: they failed, or applied to no prompt."""
    chance: Levels = field(default_factory=dict)
    """The shares of batches in conflict by chance; see :mod:`marblecli.conflicts.chance`."""

    def verdict(self, direction: str) -> Verdict:
        """Whether ``direction`` conflicts with a reward on data that it wasn't solved on."""
        summaries = {view: by_direction[direction] for view, by_direction in self.views.items()}
        return give_verdict(direction, summaries)


def find(records: Sequence[ConflictRecord], directions: Sequence[Direction]) -> Findings:
    """Judge every direction in every view.

    ``records`` holds at least one batch. Raises BadInputError if a direction's settings name
    unknown rewards or need a library that isn't installed.
    """
    slices = dict.fromkeys(name for record in records for name in record.slices)
    views = {**VIEWS, **{_SLICE + name: slice_view(name) for name in slices}}
    judged = {direction.name: judge(records, direction, views) for direction in directions}

    def by_direction(view: str) -> dict[str, DirectionSummary]:
        return {name: summaries[view] for name, summaries in judged.items()}

    return Findings(
        rewards=_reward_facts(records),
        pairs=pairs_of(records),
        views={view: by_direction(view) for view in VIEWS},
        slices={name: by_direction(_SLICE + name) for name in slices},
        without_images=rewards_without_images(records),
        chance=chance_levels(records, directions),
    )


_SLICE = "slice "
"""Keeps the names of slices apart from those of views."""


def _reward_facts(records: Sequence[ConflictRecord]) -> dict[str, RewardFacts]:
    names = reward_names(records)
    halves = np.stack([named_half_cosines(record, names) for record in records])
    norms = estimate_means(column_each(records, lambda record: record.norms))
    pulls = estimate_means(column_each(records, _pull_share))
    images = estimate_means(column_each(records, lambda record: record.valid))
    columns = zip(names, images, norms, pulls, shared_signal(halves).reliability, strict=True)
    return {
        name: RewardFacts(count.value, norm, pull, reliability)
        for name, count, norm, pull, reliability in columns
    }


def _pull_share(record: ConflictRecord) -> FloatArray:
    """[K], ||p_k|| / ||g_k||; NaN where the parts weren't measured or the gradient is zero."""
    norms, parts = np.array(record.norms), record.part_grams
    if parts is None:
        return np.full(len(norms), np.nan)
    return ratios(np.sqrt(np.diag(parts.pull)), norms)
