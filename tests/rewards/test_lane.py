from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from marblecli.rewards.lane import ActiveReward, Column, Lane
from marblecli.rewards.spec import MovableScorer, RewardBatch, RewardSpec, Scorer
from marblecli.types import Prompt, RewardFault
from support.faults import placeless

IMAGES = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1)
PROMPTS = [Prompt(f"p{n}", "s") for n in range(6)]
ALL = np.ones(6, dtype=bool)


def unused(options: object, device: str) -> Any:
    raise AssertionError("a lane builds nothing")


OpenLane = Callable[..., Lane]


@pytest.fixture
def open_lane() -> Iterator[OpenLane]:
    opened: list[Lane] = []

    def open_it(scorer: Scorer, **settings: Any) -> Lane:
        opened.append(Lane(ActiveReward(RewardSpec("r", "", unused), scorer, **settings)))
        return opened[-1]

    yield open_it
    for lane in opened:
        lane.close(0.0)


def values(batch: RewardBatch) -> Any:
    return batch.images[:, 0, 0, 0].astype(float)


def score(lane: Lane, applies: Any = ALL) -> Column:
    return lane.score(IMAGES, PROMPTS, np.asarray(applies))


@pytest.mark.parametrize(
    ("size", "calls"), [(None, [6]), (1, [1] * 6), (4, [4, 2]), (6, [6]), (100, [6])]
)
def test_a_call_has_at_most_the_batch_size_and_the_scores_stay_in_place(
    open_lane: OpenLane, size: int | None, calls: list[int]
) -> None:
    seen: list[RewardBatch] = []
    lane = open_lane(lambda batch: seen.append(batch) or values(batch), batch_size=size)
    column = score(lane)
    assert [len(batch.prompts) for batch in seen] == calls
    assert [p for batch in seen for p in batch.prompts] == [prompt.text for prompt in PROMPTS]
    np.testing.assert_array_equal(column.values, np.arange(6.0))
    assert column.valid.all()
    assert column.fault is None


def test_only_images_that_the_reward_applies_to_are_in_its_calls(open_lane: OpenLane) -> None:
    seen: list[list[str]] = []
    lane = open_lane(lambda b: seen.append(list(b.prompts)) or values(b), batch_size=2)
    applies = [True, False, True, False, False, True]
    column = score(lane, applies)
    assert seen == [["p0", "p2"], ["p5"]]
    np.testing.assert_array_equal(column.values, [0, 0, 2, 0, 0, 5])
    np.testing.assert_array_equal(column.valid, applies)


def test_a_failing_call_masks_only_its_own_images(open_lane: OpenLane) -> None:
    def fail_on_2(batch: RewardBatch) -> Any:
        if "p2" in batch.prompts:
            raise KeyError("lost")
        return values(batch)

    column = score(open_lane(fail_on_2, batch_size=2))
    assert placeless(column.fault) == RewardFault("r", "KeyError: 'lost' (1 of 3 calls)", 2)
    np.testing.assert_array_equal(column.valid, [1, 1, 0, 0, 1, 1])
    np.testing.assert_array_equal(column.values, [0, 1, 0, 0, 4, 5])


def test_failing_calls_and_values_that_arent_finite_are_one_fault(open_lane: OpenLane) -> None:
    def odd(batch: RewardBatch) -> Any:
        if "p0" in batch.prompts:
            raise ValueError("first")
        return np.where(values(batch) == 4, np.inf, values(batch))

    column = score(open_lane(odd, batch_size=2))
    message = "ValueError: first (1 of 3 calls); 1 of 6 values aren't finite"
    assert placeless(column.fault) == RewardFault("r", message, 3)
    np.testing.assert_array_equal(column.valid, [0, 0, 1, 1, 0, 1])


def test_masked_elements_have_no_score_and_are_no_fault(open_lane: OpenLane) -> None:
    mask = [False, True, False, False, True, False]
    given = np.ma.array([0.0, np.nan, 2.0, 3.0, 9.0, 5.0], mask=mask)
    column = score(open_lane(lambda batch: given))
    assert column.fault is None
    np.testing.assert_array_equal(column.valid, np.logical_not(mask))
    np.testing.assert_array_equal(column.values, [0, 0, 2, 3, 0, 5])


def test_nan_outside_the_mask_is_a_fault(open_lane: OpenLane) -> None:
    given = np.ma.array([np.nan, 1.0, 2.0, 3.0, 4.0, np.nan], mask=[True] + [False] * 5)
    column = score(open_lane(lambda batch: given))
    assert column.fault == RewardFault("r", "1 of 6 values aren't finite", 1)
    np.testing.assert_array_equal(column.valid, [0, 1, 1, 1, 1, 0])


@pytest.mark.parametrize("error", [SystemExit(2), KeyboardInterrupt("stop")])
def test_a_scorer_cannot_end_the_run(open_lane: OpenLane, error: BaseException) -> None:
    def leave(batch: RewardBatch) -> Any:
        raise error

    column = score(open_lane(leave))
    assert column.fault is not None
    assert column.fault.message.startswith(type(error).__name__)
    assert not column.valid.any()


def test_a_slow_call_is_abandoned_and_named(open_lane: OpenLane) -> None:
    gate = threading.Event()

    def hang(batch: RewardBatch) -> Any:
        gate.wait(30)
        return values(batch)

    began = time.monotonic()
    column = score(open_lane(hang, timeout=0.1))
    assert time.monotonic() - began < 5
    gate.set()
    assert column.fault == RewardFault("r", "no answer within 0.1 s (timeout)", 6)
    assert not column.valid.any()


def test_a_scorer_that_never_returns_costs_two_time_outs(open_lane: OpenLane) -> None:
    gate, calls = threading.Event(), []

    def hang(batch: RewardBatch) -> Any:
        calls.append(1)
        gate.wait(30)
        return values(batch)

    lane = open_lane(hang, timeout=0.3, batch_size=1)
    began = time.monotonic()
    columns = [score(lane) for _ in range(5)]
    assert 0.55 < time.monotonic() - began < 3
    gate.set()
    assert len(calls) == 1, "one call at a time"
    faults = [column.fault for column in columns]
    assert faults[0] == RewardFault("r", "no answer within 0.3 s (timeout) (6 of 6 calls)", 6)
    assert {fault.message for fault in faults[1:] if fault} == {
        "still busy with a call that took more than 0.3 s (timeout) (6 of 6 calls)"
    }


def test_the_next_call_waits_for_a_slow_one(open_lane: OpenLane) -> None:
    """The second call starts once the first one, which was late, has returned."""
    running, most = threading.Semaphore(1), []

    def slow_once(batch: RewardBatch) -> Any:
        most.append(running.acquire(blocking=False))
        time.sleep(0.3 if len(most) == 1 else 0.0)
        running.release()
        return values(batch)

    lane = open_lane(slow_once, timeout=0.2)
    first, second = score(lane), score(lane)
    assert first.fault is not None
    assert second.fault is None
    np.testing.assert_array_equal(second.values, np.arange(6.0))
    assert most == [True, True]


class Movable:
    """Scores only on the device where it should score, and notes its moves."""

    def __init__(self, fails_on: str = "") -> None:
        self.moves: list[str] = []
        self.fails_on = fails_on

    def __call__(self, batch: RewardBatch) -> Any:
        assert self.moves[-1] == "cuda:7"
        return values(batch)

    def to(self, device: str, /) -> None:
        if device == self.fails_on:
            raise RuntimeError(f"{device} is full")
        self.moves.append(device)


def test_offloaded_weights_move_to_the_device_and_back(open_lane: OpenLane) -> None:
    scorer = Movable()
    assert isinstance(scorer, MovableScorer)
    lane = open_lane(scorer, offload_from="cuda:7", batch_size=2)
    for _ in range(2):
        lane.visit()
        lane.visit()
        assert score(lane).fault is None
        assert lane.rest() is None
        assert lane.rest() is None
    assert scorer.moves == ["cuda:7", "cpu", "cuda:7", "cpu"]


def test_a_reward_that_is_not_offloaded_is_not_moved(open_lane: OpenLane) -> None:
    scorer = Movable()
    scorer.moves.append("cuda:7")
    lane = open_lane(scorer)
    lane.visit()
    score(lane)
    lane.rest()
    assert scorer.moves == ["cuda:7"]


def test_a_failed_move_to_the_device_is_reported_in_the_column_and_tried_again(
    open_lane: OpenLane,
) -> None:
    scorer = Movable(fails_on="cuda:7")
    lane = open_lane(scorer, offload_from="cuda:7")
    lane.visit()
    assert placeless(score(lane).fault) == RewardFault("r", "RuntimeError: cuda:7 is full", 6)
    assert lane.rest() is None
    # Weights that may have been moved in part are brought back.
    assert scorer.moves == ["cpu"]
    scorer.fails_on = ""
    lane.visit()
    assert score(lane).fault is None


def test_a_failed_move_back_is_a_fault_without_images(open_lane: OpenLane) -> None:
    scorer = Movable(fails_on="cpu")
    lane = open_lane(scorer, offload_from="cuda:7")
    lane.visit()
    assert score(lane).fault is None
    assert placeless(lane.rest()) == RewardFault("r", "RuntimeError: cpu is full", 0)


def test_weights_of_an_abandoned_call_are_moved_back_once_it_has_returned(
    open_lane: OpenLane,
) -> None:
    gate = threading.Event()

    class Stuck(Movable):
        def __call__(self, batch: RewardBatch) -> Any:
            gate.wait(30)
            return super().__call__(batch)

    scorer = Stuck()
    lane = open_lane(scorer, offload_from="cuda:7", timeout=0.1)
    lane.visit()
    assert score(lane).fault is not None
    assert lane.rest() is None
    assert scorer.moves == ["cuda:7"]
    gate.set()
    time.sleep(0.1)
    lane.visit()
    assert score(lane).fault is None
    assert lane.rest() is None
    assert scorer.moves == ["cuda:7", "cpu"]
