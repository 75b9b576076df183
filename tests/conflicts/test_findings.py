from __future__ import annotations

import numpy as np
import pytest

from marblecli.conflicts.findings import find
from marblecli.conflicts.views import VIEWS, Direction
from marblecli.settings import BalanceSettings


def test_what_a_gradient_is_made_of_worked_by_hand(record_of):
    """g = a + b + p = (1, 0) + (3, 0) + (0, 3) of norm 5; its pull is 3, its halves agree."""
    record = record_of([[1, 0], [0, 0]], [[3, 0], [0, 0]], pull=[[0, 3], [0, 0]])
    facts = find([record], [Direction("applied")]).rewards
    assert facts["a"].norm.value == 5.0
    assert facts["a"].pull_share.value == pytest.approx(0.6)
    assert facts["a"].reliability.value == pytest.approx(1.0)
    assert facts["a"].images == 4
    assert np.isnan(facts["b"].pull_share.value)
    assert np.isnan(facts["b"].reliability.value)


def test_every_direction_is_judged_in_every_view_and_slice(record_of):
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


def test_the_split_half_cosine_grows_with_the_signal(noisy_records):
    weak, strong = (
        find(noisy_records(0.0, strength, batches=20), []).rewards["a"].reliability
        for strength in (0.3, 1.0)
    )
    # signal / (signal + noise) of each half: .09 / 1.09 and 1 / 2.
    assert weak.low <= 0.09 / 1.09 <= weak.high
    assert strong.low <= 0.5 <= strong.high
