"""What was found, made up for tests of what is shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from marblecli.conflicts.estimates import NOTHING, Estimate
from marblecli.conflicts.findings import Findings, RewardFacts
from marblecli.conflicts.pairs import PairSummary, PairVerdict
from marblecli.conflicts.record import ConflictRecord
from marblecli.conflicts.summaries import DirectionSummary, summarise
from marblecli.conflicts.views import VIEWS
from support.records import record_of

SURE = Estimate(-0.5, -0.6, -0.4)
"""A significant conflict."""
OPEN = Estimate(0.1, -0.1, 0.3)
"""An estimate that isn't significant."""
REWARDS = tuple(f"shapes-reward-{letter}" for letter in "abcdef")
"""Six long names."""


def pair(first: str, second: str, verdict: PairVerdict = "not significant") -> PairSummary:
    """A pair with the cosine -0.5 in single batches."""
    corrected = SURE if verdict == "conflict" else NOTHING
    return PairSummary(first, second, 8, SURE, Estimate(1.0, 1.0, 1.0), corrected, verdict)


def steady(rewards: Sequence[str], cosines: ArrayLike, batches: int = 8) -> DirectionSummary:
    """The same cosines with the rewards in every batch, but for little noise."""
    spread = np.linspace(-0.01, 0.01, batches)[:, None, None]
    return summarise(rewards, np.asarray(cosines, dtype=np.float64)[None, None] + spread)


def absent(rewards: Sequence[str]) -> DirectionSummary:
    """Of a view that no batch was measured in."""
    return summarise(rewards, np.full((8, 1, len(rewards)), np.nan))


def findings_of(rewards: Sequence[str] = REWARDS, *, measured: Sequence[str] = ()) -> Findings:
    """The directions ``applied`` and ``weighted-sum``, and every pair.

    ``measured`` are the views that batches were measured in: all if none is named.
    """
    there = steady(rewards, np.linspace(0.4, -0.3, len(rewards)))
    views = {view: there if not measured or view in measured else absent(rewards) for view in VIEWS}
    return Findings(
        rewards={name: RewardFacts(72.0, SURE, Estimate(0.1, 0.1, 0.1), OPEN) for name in rewards},
        pairs=tuple(
            pair(one, other) for place, one in enumerate(rewards) for other in rewards[place + 1 :]
        ),
        views={name: {"applied": each, "weighted-sum": each} for name, each in views.items()},
        slices={},
    )


def without_images(findings: Findings, *names: str) -> Findings:
    """The same, where some rewards scored no image and have no cosine."""
    rewards = list(findings.rewards)
    cosines = np.where([name in names for name in rewards], np.nan, 0.4)
    summary = steady(rewards, cosines)
    facts = {
        name: RewardFacts(0.0, Estimate(0.0, 0.0, 0.0), NOTHING, NOTHING) if name in names else each
        for name, each in findings.rewards.items()
    }
    views = {view: dict.fromkeys(each, summary) for view, each in findings.views.items()}
    return dataclasses.replace(findings, rewards=facts, views=views, without_images=names)


def records_of(rewards: Sequence[str] = REWARDS, batches: int = 3) -> list[ConflictRecord]:
    """Batches of orthogonal gradients."""
    eye = np.eye(len(rewards))
    cosines = {"applied": tuple(np.linspace(0.4, -0.3, len(rewards)).tolist())}
    return [
        record_of(eye, eye, names=rewards, step=step, cosines=cosines)
        for step in range(1, batches + 1)
    ]
