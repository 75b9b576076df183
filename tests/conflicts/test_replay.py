from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from marblecli.conflicts.replay import replay, replay_records
from marblecli.errors import MarbleError
from marblecli.settings import BalanceSettings
from marblecli.types import GradientStats
from support.records import record_of


def test_memory_and_turns_go_on_from_batch_to_batch():
    one = GradientStats(("a", "b"), np.array([[1.0, 0.9], [0.9, 1.0]]), np.array([True, True]))
    batches = [(step, one, None) for step in (1, 2, 3, 4)]
    turns = BalanceSettings(method="sequential", stage_steps=2)
    weights = [chosen.simplex_weights.tolist() for chosen in replay(turns, {}, batches)]
    assert weights == [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    uneven = dataclasses.replace(one, gram=np.array([[1.0, 1.8], [1.8, 4.0]]))
    remembering = BalanceSettings(memory=0.5)
    fresh, *_ = replay(remembering, {}, [(1, uneven, None)])
    *_, after = replay(remembering, {}, [(1, one, None), (2, uneven, None)])
    assert after.coefficients.tolist() != fresh.coefficients.tolist()


def test_other_rewards_start_the_memory_anew():
    one = GradientStats(("a",), np.array([[1.0]]), np.array([True]))
    two = GradientStats(("a", "b"), np.eye(2), np.array([True, True]))
    *_, after = replay(BalanceSettings(memory=0.5), {}, [(1, one, None), (2, two, None)])
    assert after.simplex_weights == pytest.approx([0.5, 0.5])


def test_a_batch_that_cannot_be_combined_says_why_and_the_rest_goes_on():
    lost = GradientStats(("a", "b"), np.diag([0.0, 1.0]), np.array([False, True]))
    there = GradientStats(("a", "b"), np.eye(2), np.array([True, True]))
    single = BalanceSettings(method="single", reward="a")
    first, second = replay(single, {}, [(1, lost, None), (2, there, None)])
    assert isinstance(first, MarbleError)
    assert second.simplex_weights.tolist() == [1.0, 0.0]


def test_a_record_is_solved_whole_or_half_by_half():
    """Norms 1 and 2 whole; 1 and 1 in the first half, and nothing of b in the second."""
    record = record_of([[1, 0], [0, 1]], [[0, 0], [0, 1]])
    equal = BalanceSettings(method="equal")
    ((whole,),) = replay_records([record], equal, {}, "batch")
    assert whole == pytest.approx([0.75, 0.375])
    ((first, second),) = replay_records([record], equal, {}, "halves")
    assert first == pytest.approx([0.5, 0.5])
    assert second == pytest.approx([0.0, 1.0])


def test_a_record_without_parts_has_no_halves_to_solve():
    old = dataclasses.replace(record_of(np.eye(2), np.eye(2)), parts=None)
    records = [old, record_of(np.eye(2), np.eye(2))]
    missing, there = replay_records(records, BalanceSettings(), {}, "halves")
    assert missing == (None, None)
    assert all(coefficients is not None for coefficients in there)
