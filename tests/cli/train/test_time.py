from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marblecli.cli.setup import load_plan
from marblecli.cli.train.time import Speed, evaluated_images, time_lines
from marblecli.planning.operations import StepOperations

Marble = Callable[..., Any]
COUNTED = StepOperations(3e12, 1e12, 6e12, 2e12)


def lines(recipe: Path, speed: Speed | None, *overrides: str) -> list[str]:
    return list(time_lines(load_plan(recipe, overrides), COUNTED, speed))


def test_times_are_operations_over_the_speed(recipe: Path) -> None:
    first, second, third = lines(recipe, Speed(5e12, "as given"), "training.steps=100")
    assert first == (
        "operations of a step, counted: 10 TFLOP (sampling 30 %, decoding 10 %, gradients 60 %)"
    )
    # 2 training prompts with 2 images each and 2 held-out ones with 1: 6 images of 0.4 s.
    assert second == (
        "least time at 5 TFLOPS (as given): a step 2 s, an evaluation 2.4 s, 100 steps and 2 "
        "evaluations 0:03:25"
    )
    assert "scoring" in third


def test_evaluations_along_the_way_are_counted(recipe: Path) -> None:
    found = lines(recipe, Speed(5e12, "x"), "training.steps=100", "eval.every=50")
    assert "100 steps and 3 evaluations" in found[1]
    assert evaluated_images(load_plan(recipe, ["eval.train_prompts=0"])) == 2


def test_without_a_speed_the_option_is_named(recipe: Path) -> None:
    assert "--speed TFLOPS" in lines(recipe, None)[1]


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--speed", "2"), "least time at 2 TFLOPS (as given)"),
        (("--memory", "24"), "--speed TFLOPS says how long"),
        ((), "measured here, of fp32 matrix products on"),
    ],
)
def test_the_dry_run_shows_it(
    options: tuple[str, ...], part: str, marble: Marble, tiny_recipe: Path
) -> None:
    shown = marble("train", tiny_recipe, "--dry-run", *options)
    assert shown.code == 0
    assert part in shown.out


def test_a_speed_is_for_the_plan_only(marble: Marble, tiny_recipe: Path) -> None:
    shown = marble("train", tiny_recipe, "--speed", 2)
    assert (shown.code, shown.out) == (2, "")
    assert "--speed needs --dry-run" in shown.err
