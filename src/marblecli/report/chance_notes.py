"""Which shares of conflict a table would show by chance, and where a direction's level differs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from marblecli.conflicts.chance import OWN
from marblecli.conflicts.findings import Findings
from marblecli.report.cells import share


def usual_level(findings: Findings, view: str) -> float | None:
    """The level of most directions in the view; None where there is none."""
    levels = Counter(level for level in _levels(findings, view).values() if not math.isnan(level))
    return levels.most_common(1)[0][0] if levels else None


def reward_level(findings: Findings, view: str, direction: str) -> float | None:
    """The level of a single reward with a direction; None where it differs between rewards."""
    if view not in OWN:
        return 0.5
    return 0.0 if _levels(findings, view).get(direction) == 0.0 else None


def unusual_levels(findings: Findings, views: Mapping[str, str]) -> tuple[str, ...]:
    """A note for each direction whose level differs from the usual one; ``views`` have titles."""
    return tuple(
        f"By chance, {name} would be in conflict in {share(level)} of batches ({title}), because "
        "its direction leaves rewards out."
        for view, title in views.items()
        if view == OWN[0]
        for name, level in _levels(findings, view).items()
        if not math.isnan(level) and level != usual_level(findings, view)
    )


def _levels(findings: Findings, view: str) -> Mapping[str, float]:
    return findings.chance.get(view, {})
