"""What makes gains of rewards with different scales comparable: one unit for each reward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from marblecli.lab.gains import Gains, draw
from marblecli.lab.recipe import SPECIALIST
from marblecli.seeding import stream
from marblecli.types import EvaluationRecord


@dataclass(frozen=True)
class Units:
    """The gain that counts as 1, by reward."""

    kind: Literal["specialist", "deviation"]
    by_reward: Mapping[str, float]
    reason: str
    """In a sentence, which units they are, and why not the others."""


def units_of(
    rewards: Sequence[str],
    gains: Mapping[str, Gains],
    bases: Sequence[EvaluationRecord],
    split: str,
) -> Units:
    """The specialists' gains if each of them has significantly gained on its own reward.

    Otherwise the standard deviations of the base model's scores over images, in all ``bases``.
    ``gains`` are by method, specialists included.
    """
    found, weak = {}, []
    for place, name in enumerate(rewards):
        own = gains.get(SPECIALIST + name)
        if own is None:
            return _deviations(rewards, bases, split, "there aren't specialists of all rewards")
        found[name] = float(own.means[place])
        drawn = own.redrawn(draw(*own.shape, stream(0, "specialists", place)))
        if not np.nanquantile(drawn[:, place], 0.025) > 0.0:
            weak.append(name)
    if weak:
        reason = f"no significant gain was made by the specialists of {', '.join(weak)}"
        return _deviations(rewards, bases, split, reason)
    return Units(
        "specialist",
        found,
        "A share of 1 is the gain of the reward's specialist, the mean over its seeds.",
    )


def _deviations(
    rewards: Sequence[str], bases: Sequence[EvaluationRecord], split: str, reason: str
) -> Units:
    found = {}
    for name in rewards:
        scores = [
            score
            for base in bases
            for image in base.images.get(split, ())
            if (score := image.scores.get(name)) is not None
        ]
        # A constant score has no unit, and no share.
        found[name] = float(np.std(scores) or np.nan) if scores else float("nan")
    return Units(
        "deviation",
        found,
        f"A share of 1 is one standard deviation of the base model's scores, because {reason}.",
    )
