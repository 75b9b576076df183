from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from marblecli.conflicts.findings import find
from marblecli.conflicts.judge import Direction
from marblecli.conflicts.views import VIEWS
from marblecli.settings import BalanceSettings
from support.records import noisy_records, record_of


def test_what_a_gradient_is_made_of_worked_by_hand():
    """g = a + b + p = (1, 0) + (3, 0) + (0, 3) of norm 5; its pull is 3, its halves agree."""
    record = record_of([[1, 0], [0, 0]], [[3, 0], [0, 0]], pull=[[0, 3], [0, 0]])
    facts = find([record], [Direction("applied")]).rewards
    assert facts["a"].norm.value == 5.0
    assert facts["a"].pull_share.value == pytest.approx(0.6)
    assert facts["a"].reliability.value == pytest.approx(1.0)
    assert facts["a"].images == 4
    assert np.isnan(facts["b"].pull_share.value)
    assert np.isnan(facts["b"].reliability.value)


def test_every_direction_is_judged_in_every_view_and_slice():
    records = [
        record_of(np.eye(2), np.eye(2), slices={"noise 0-1": np.eye(2)}),
        record_of(np.eye(2), np.eye(2), slices={"source x": np.eye(2)}),
    ]
    names = ["applied", "equal"]
    directions = [Direction(name, BalanceSettings(method="equal")) for name in names]
    found = find(records, directions)
    assert list(found.views) == list(VIEWS)
    assert all(list(summaries) == names for summaries in found.views.values())
    assert list(found.slices) == ["noise 0-1", "source x"]
    assert found.slices["source x"]["equal"].batches == 1


def test_the_split_half_cosine_grows_with_the_signal():
    weak, strong = (
        find(noisy_records(0.0, strength, batches=20), []).rewards["a"].reliability
        for strength in (0.3, 1.0)
    )
    # signal / (signal + noise) of each half: .09 / 1.09 and 1 / 2.
    assert weak.low <= 0.09 / 1.09 <= weak.high
    assert strong.low <= 0.5 <= strong.high


def test_the_verdict_is_about_one_direction_in_its_best_view():
    """Two halves that contradict each other on b: equal conflicts with it on held-out halves."""
    records = [record_of([[1, 0], [0, 1]], [[1, 0], [0, -1]], step=step) for step in range(8)]
    found = find(records, [Direction("equal", BalanceSettings(method="equal"))])
    verdict = found.verdict("equal")
    assert (verdict.view, verdict.batches) == ("held-out", 8)
    assert (verdict.conflicting, verdict.agreeing) == (("b",), ("a",))


def test_a_reward_that_scored_no_image_is_still_there():
    record = record_of([[1, 0], [0, 0]], np.zeros((2, 2)))
    found = find([dataclasses.replace(record, valid=(4, 0))], [])
    assert list(found.rewards) == ["a", "b"]
    assert found.without_images == ("b",)
