from __future__ import annotations

import pytest

from marblecli.planning.plan import (
    PHASES,
    Item,
    MemoryPlan,
    images_of_a_step,
    micro_batch_images,
    trained_rows,
)
from support.planning import recipe_of


def plan_of(*items: Item) -> MemoryPlan:
    return MemoryPlan(items, trained=0, row=0, row_otherwise=0, unknown_rewards=())


def test_items_are_summed_by_phase_and_place() -> None:
    plan = plan_of(
        Item("weights", dict.fromkeys(PHASES, 10)),
        Item("a pass", {"gradients": 5}),
        Item("average", {"update": 7}, on_cpu=True),
    )
    assert [plan.total(phase) for phase in PHASES] == [10, 10, 10, 15, 10]
    assert plan.peak == "gradients"
    assert plan.cpu_peak == 7


def test_excess_is_summed_over_the_phases_that_dont_fit() -> None:
    plan = plan_of(Item("weights", {"prompts": 10, "sampling": 20, "update": 30}))
    assert plan.excess(30) == 0
    assert plan.excess(15) == 5 + 15
    assert plan.excess(0) == 60


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], 240),
        (["extremes=4"], 80),
        (["draw=by-size"], 120),
        (["draw=by-size", "share=0.3"], 72),
        (["draw=by-size", "share=0.25", "extremes=6"], 30),
    ],
)
def test_the_rows_that_a_step_trains(rows: list[str], expected: int) -> None:
    options = (f"training.rows.{option}" for option in rows)
    recipe = recipe_of("sampling.group_size=12", "training.noise_levels=2", *options)
    assert trained_rows(recipe, 120) == expected


def test_the_images_of_a_step_and_of_a_micro_batch() -> None:
    assert images_of_a_step(recipe_of()) == 6
    assert micro_batch_images(recipe_of()) == 4
    assert micro_batch_images(recipe_of("training.micro_batch_size=100")) == 6
    assert micro_batch_images(recipe_of("training.micro_batch_size=auto")) == 1
