"""Does a direction conflict with a reward on data that it wasn't solved on?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from marblecli.conflicts.estimates import MIN_BATCHES, Estimate
from marblecli.conflicts.summaries import DirectionSummary

Evidence = Literal["fresh-signal", "held-out"]
EVIDENCE: tuple[Evidence, ...] = ("fresh-signal", "held-out")
"""The views on which nothing was solved, the stronger evidence first."""


@dataclass(frozen=True)
class Verdict:
    """What the evidence says of one direction."""

    direction: str
    view: Evidence | None
    """What it was judged by; None if no batch was measured so."""
    batches: int
    cosines: Mapping[str, Estimate]
    """The mean cosine of every reward that has one, the least first."""

    @property
    def conflicting(self) -> tuple[str, ...]:
        """The rewards whose mean cosine is significantly below 0, the worst first."""
        return self._of_sign(-1)

    @property
    def agreeing(self) -> tuple[str, ...]:
        """The rewards whose mean cosine is significantly above 0."""
        return self._of_sign(1)

    @property
    def not_significant(self) -> tuple[str, ...]:
        """The rewards whose interval includes 0, or that have no interval."""
        return self._of_sign(0)

    def _of_sign(self, sign: int) -> tuple[str, ...]:
        return tuple(name for name, cosine in self.cosines.items() if cosine.sign == sign)


def give_verdict(direction: str, summaries: Mapping[str, DirectionSummary]) -> Verdict:
    """Judge a direction by the best evidence there is; ``summaries`` are its own, by view.

    Fresh images count first. Where too few batches have them for an interval, held-out halves do.
    """
    enough = [view for view in EVIDENCE if summaries[view].batches >= MIN_BATCHES]
    some = [view for view in EVIDENCE if summaries[view].batches]
    if not some:
        return Verdict(direction, None, 0, {})
    view = (enough or some)[0]
    cosines = {
        name: reward.cosine
        for name, reward in summaries[view].per_reward.items()
        if not np.isnan(reward.cosine.value)
    }
    ordered = sorted(cosines, key=lambda name: cosines[name].value)
    return Verdict(
        direction, view, summaries[view].batches, {name: cosines[name] for name in ordered}
    )
