from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from marblecli.conflicts.record import ScoresRecord, SignalRecord
from marblecli.conflicts.replay import SeenBatch, replay, replay_records
from marblecli.errors import BadInputError, MarbleError
from marblecli.maths.scores import score_stats
from marblecli.settings import BalanceSettings
from marblecli.types import GradientStats
from support.records import record_of
from support.scores import random_table


def test_memory_and_turns_go_on_from_batch_to_batch():
    one = GradientStats(("a", "b"), np.array([[1.0, 0.9], [0.9, 1.0]]), np.array([True, True]))
    batches = [SeenBatch(step, one) for step in (1, 2, 3, 4)]
    turns = BalanceSettings(method="sequential", stage_steps=2)
    weights = [chosen.simplex_weights.tolist() for chosen in replay(turns, {}, batches)]
    assert weights == [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    uneven = dataclasses.replace(one, gram=np.array([[1.0, 1.8], [1.8, 4.0]]))
    remembering = BalanceSettings(memory=0.5)
    fresh, *_ = replay(remembering, {}, [SeenBatch(1, uneven)])
    *_, after = replay(remembering, {}, [SeenBatch(1, one), SeenBatch(2, uneven)])
    assert after.coefficients.tolist() != fresh.coefficients.tolist()


def test_other_rewards_start_the_memory_anew():
    one = GradientStats(("a",), np.array([[1.0]]), np.array([True]))
    two = GradientStats(("a", "b"), np.eye(2), np.array([True, True]))
    *_, after = replay(BalanceSettings(memory=0.5), {}, [SeenBatch(1, one), SeenBatch(2, two)])
    assert after.simplex_weights == pytest.approx([0.5, 0.5])


def test_a_batch_that_cannot_be_combined_says_why_and_the_rest_goes_on():
    lost = GradientStats(("a", "b"), np.diag([0.0, 1.0]), np.array([False, True]))
    there = GradientStats(("a", "b"), np.eye(2), np.array([True, True]))
    single = BalanceSettings(method="single", reward="a")
    first, second = replay(single, {}, [SeenBatch(1, lost), SeenBatch(2, there)])
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


@pytest.mark.parametrize("method", ["raw-sum", "gdpo"])
def test_a_method_of_scores_is_replayed_from_the_recorded_ones(method: str):
    """The halves of a batch are given its scores, so their coefficients are its own."""
    table, groups = random_table(0, rewards=2)
    scores = ScoresRecord.of(score_stats(table, groups))
    plain = record_of(np.eye(2), np.eye(2))
    scored = dataclasses.replace(plain, scores=scores)
    settings = BalanceSettings(method=method)
    missing, (whole,) = replay_records([plain, scored], settings, {}, "batch")
    assert missing == (None,)
    assert (whole > 0.0).all()
    ((first, second),) = replay_records([scored], settings, {}, "halves")
    assert first.tolist() == second.tolist() == whole.tolist()


def with_signal(record, square):
    """The same, with a second signal of this square; lengths 1."""
    signal = SignalRecord(((1.0, 0.0), (0.0, square)), (1.0, 1.0))
    return dataclasses.replace(record, signal=signal)


def test_a_recorded_signal_is_replayed_whole_and_the_one_before_on_halves():
    """Lengths 1 and 1/2 of orthogonal signals: weights 1/2 each, times their mean 3/4 over each."""
    plain = record_of(np.eye(2), np.eye(2))
    records = [plain, with_signal(plain, 0.25), with_signal(plain, 1.0)]
    settings = BalanceSettings(method="noise-aware")
    (first,), (second,), (third,) = replay_records(records, settings, {}, "batch")
    assert first == pytest.approx([0.5, 0.5])
    assert second == pytest.approx([0.375, 0.75])
    assert third == pytest.approx([0.5, 0.5])
    *_, (one, other) = replay_records(records, settings, {}, "halves")
    assert one == pytest.approx([0.375, 0.75])
    assert other == pytest.approx([0.375, 0.75])


def test_records_without_a_signal_say_so_in_one_line():
    with pytest.raises(BadInputError, match="noise-aware needs the signal") as raised:
        replay_records(
            [record_of(np.eye(2), np.eye(2))], BalanceSettings(method="noise-aware"), {}, "batch"
        )
    assert "\n" not in str(raised.value)


def test_records_without_scores_say_so_in_one_line():
    with pytest.raises(BadInputError, match="raw-sum needs the scores") as raised:
        replay_records(
            [record_of(np.eye(2), np.eye(2))], BalanceSettings(method="raw-sum"), {}, "batch"
        )
    assert "\n" not in str(raised.value)
