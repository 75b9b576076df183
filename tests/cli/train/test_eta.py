from __future__ import annotations

import pytest

from marblecli.cli.train.eta import Eta


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_nothing_is_known_before_the_first_step(clock: Clock) -> None:
    eta = Eta(10, 5, clock=clock)
    eta.after_evaluation(0, 60.0)
    assert eta.describe() == "unknown before the first step"


def test_the_evaluations_to_come_are_counted_in(clock: Clock) -> None:
    eta = Eta(10, 4, clock=clock)
    eta.after_evaluation(0, 60.0)
    eta.after_step(1, 2.0)
    # 9 steps of 2 s; evaluations after 4, 8 and 10.
    assert eta.describe() == "0:03:18 with 3 evaluations"
    for step in (2, 3, 4):
        eta.after_step(step, 2.0)
    assert eta.describe() == "0:03:12 with 3 evaluations"
    eta.after_evaluation(4, 30.0)
    # The last evaluation took half as long: 6 steps, 2 evaluations.
    assert eta.describe() == "0:01:12 with 2 evaluations"
    for step in range(5, 11):
        eta.after_step(step, 2.0)
        if step == 8:
            eta.after_evaluation(8, 30.0)
    assert eta.describe() == "0:00:30 with 1 evaluation"
    eta.after_evaluation(10, 30.0)
    assert eta.describe() == "0:00:00"


@pytest.mark.parametrize(("every", "count"), [(0, 1), (1, 9), (3, 4), (5, 2), (100, 1)])
def test_how_many_are_due(every: int, count: int, clock: Clock) -> None:
    eta = Eta(10, every, 1.0, clock=clock)
    eta.after_step(2, 0.0)
    due = {step for step in range(2, 11) if step == 10 or (every and step % every == 0)}
    assert len(due) == count
    assert eta.describe().endswith(f"with {count} evaluation{'s' * (count > 1)}")


def test_an_evaluation_that_was_never_timed_is_left_out_and_that_is_said(clock: Clock) -> None:
    eta = Eta(10, 0, clock=clock)
    eta.after_step(6, 2.0)
    assert eta.describe() == "0:00:08 without 1 evaluation, as none was timed yet"


def test_the_time_that_passes_is_taken_off(clock: Clock) -> None:
    eta = Eta(10, 0, 4.0, clock=clock)
    eta.after_step(6, 2.0)
    assert eta.describe() == "0:00:12 with 1 evaluation"
    clock.now = 5.0
    assert eta.describe() == "0:00:07 with 1 evaluation"
    clock.now = 50.0
    assert eta.describe() == "0:00:00 with 1 evaluation"


def test_recent_steps_count(clock: Clock) -> None:
    eta = Eta(1000, 0, 0.0, clock=clock)
    eta.after_step(1, 500.0)
    for step in range(2, 22):
        eta.after_step(step, 1.0)
    assert eta.describe() == "0:16:19 with 1 evaluation"
