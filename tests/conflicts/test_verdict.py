from __future__ import annotations

import numpy as np
import pytest

from marblecli.conflicts.estimates import MIN_BATCHES
from marblecli.conflicts.summaries import summarise
from marblecli.conflicts.verdict import give_verdict
from marblecli.conflicts.views import VIEWS

REWARDS = ("up", "down", "unclear", "absent")


def views(**cosines):
    """Summaries by view; views that aren't named have no batch."""
    nothing = np.full((1, 1, len(REWARDS)), np.nan)
    return {
        view: summarise(REWARDS, cosines.get(view.replace("-", "_"), nothing)) for view in VIEWS
    }


def batches(count, scale=1.0):
    """Mean cosines .2, -.3 and 0, and none of the last reward."""
    spread = np.resize([-0.05, 0.05], count)[:, None]
    rows = scale * np.array([0.2, -0.3, 0.0, np.nan]) + spread
    return rows[:, None]


def test_rewards_are_sorted_by_what_is_significant_and_the_worst_comes_first():
    verdict = give_verdict("applied", views(held_out=batches(10)))
    assert (verdict.direction, verdict.view, verdict.batches) == ("applied", "held-out", 10)
    assert list(verdict.cosines) == ["down", "unclear", "up"]
    assert verdict.conflicting == ("down",)
    assert verdict.agreeing == ("up",)
    assert verdict.not_significant == ("unclear",)


@pytest.mark.parametrize(
    ("fresh", "held_out", "view"),
    [
        (MIN_BATCHES, 40, "fresh-signal"),
        (MIN_BATCHES - 1, 40, "held-out"),
        (MIN_BATCHES - 1, MIN_BATCHES - 1, "fresh-signal"),
    ],
)
def test_new_images_count_first_where_there_are_enough(fresh, held_out, view):
    summaries = views(fresh_signal=batches(fresh), held_out=batches(held_out, -1.0))
    assert give_verdict("applied", summaries).view == view


def test_the_batch_that_was_solved_on_is_no_evidence():
    verdict = give_verdict("applied", views(batch=batches(40), signal=batches(40)))
    assert (verdict.view, verdict.batches) == (None, 0)
    assert verdict.conflicting == verdict.agreeing == verdict.not_significant == ()


def test_few_batches_make_nothing_significant():
    verdict = give_verdict("applied", views(held_out=batches(MIN_BATCHES - 1)))
    assert verdict.not_significant == ("down", "unclear", "up")
