from __future__ import annotations

import numpy as np
import pytest

from marblecli.conflicts.estimates import NOTHING, Estimate
from marblecli.conflicts.findings import Findings, RewardFacts
from marblecli.conflicts.vectors import PairSummary, summarise
from marblecli.conflicts.views import VIEWS
from marblecli.report.conflict_tables import doubtful, interval, least_cosine, show_overview
from marblecli.report.render import out

REWARDS = tuple(f"shapes-reward-{letter}" for letter in "abcdef")


def findings():
    """Six rewards with long names, and every pair of them."""
    sure = Estimate(-0.5, -0.6, -0.4)
    cosines = np.full((8, 1, 6), 0.4) + np.linspace(0.0, 0.1, 8)[:, None, None]
    summary = summarise(REWARDS, cosines)
    pairs = tuple(
        PairSummary(
            one, other, 8, sure, Estimate(1.0, 1.0, 1.0), NOTHING, "can't be told from noise"
        )
        for place, one in enumerate(REWARDS)
        for other in REWARDS[place + 1 :]
    )
    return Findings(
        rewards={name: RewardFacts(72.0, sure, sure, sure) for name in REWARDS},
        pairs=pairs,
        views={view: {"applied": summary, "weighted-sum": summary} for view in VIEWS},
        slices={},
    )


def test_the_first_screen_fits_a_hundred_columns(capsys, monkeypatch):
    monkeypatch.setattr(out, "width", 100)
    show_overview(findings())
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 100
    # No name is broken: what doesn't fit stands below, and is counted.
    for name in REWARDS:
        assert f"│ {name} " in shown
    assert "5 pairs less at odds left out; --details shows them." in shown


def test_views_that_nobody_measured_have_no_column(capsys):
    nothing = summarise(REWARDS, np.full((8, 1, 6), np.nan))
    found = findings()
    views = {**found.views, "fresh-signal": {"applied": nothing, "weighted-sum": nothing}}
    show_overview(Findings(found.rewards, found.pairs, views, {}))
    assert "fresh images" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("estimate", "bounds", "mark"),
    [
        (Estimate(0.1, 0.05, 0.15), "[+0.05, +0.15]", ""),
        (Estimate(0.1, -0.05, 0.15), "[-0.05, +0.15]", "?"),
        (Estimate(0.1, float("nan"), float("nan")), "", "?"),
        (NOTHING, "", ""),
    ],
)
def test_intervals_and_doubts(estimate, bounds, mark):
    assert (interval(estimate), doubtful(estimate)) == (bounds, mark)


def test_the_least_cosine_is_of_one_reward():
    """Means .4 and .1; the least of each batch would be -.1."""
    cosines = np.array([[[0.4, -0.1]], [[0.4, 0.3]]])
    assert least_cosine(summarise("ab", cosines)).value == pytest.approx(0.1)
    assert least_cosine(summarise("ab", np.full((2, 1, 2), np.nan))) is None
