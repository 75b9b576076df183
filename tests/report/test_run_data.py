from __future__ import annotations

from support.run_data import REWARDS, bare_run, run_data


def test_rewards_are_in_the_recipes_order_and_known_without_it() -> None:
    assert run_data().rewards == REWARDS
    assert run_data(recipe={}).rewards == REWARDS
    assert run_data(recipe={}, metrics=()).rewards == REWARDS
    assert bare_run().rewards == ()


def test_how_far_the_run_is() -> None:
    assert (run_data().steps_done, run_data().steps_planned) == (10, 10)
    assert (bare_run().steps_done, bare_run().steps_planned) == (0, None)


def test_the_method_is_the_recipes() -> None:
    assert (run_data().method, bare_run().method) == ("equal", None)
