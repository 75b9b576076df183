from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marblecli.cli.inspect_conflicts.geometries import named_geometry, usual_geometries
from marblecli.errors import BadInputError
from marblecli.settings import Recipe

Marble = Callable[..., Any]


def recipe(steps: int, rows: int, **levels: object) -> Recipe:
    return Recipe.model_validate(
        {
            "run": {"name": "x"},
            "model": {"pretrained": "x"},
            "prompts": {"all": {"train": "x"}},
            "rewards": {"ocr": {}},
            "sampling": {"steps": steps},
            "training": {"steps": 1, "noise_levels": rows, "levels": levels},
        }
    )


def test_only_what_differs_from_the_recipe_is_typed() -> None:
    found = usual_geometries(recipe(8, 4))
    assert ("training.levels.draw=uniform", "training.levels.low=0.8") in found
    assert all("sampling.steps=8" not in each for each in found)
    assert len(set(found)) == len(found)


def test_the_recipes_own_geometry_is_not_among_them() -> None:
    found = usual_geometries(recipe(8, 4, draw="uniform", low=0.8))
    assert () not in found
    assert ("training.noise_levels=8",) in found


def test_other_levels_reset_what_only_the_old_ones_have() -> None:
    found = usual_geometries(recipe(8, 4, draw="logit-normal", mean=2.0, weighted=True))
    high = next(each for each in found if "training.levels.draw=uniform" in each)
    assert {"training.levels.mean=0.0", "training.levels.weighted=false"} <= set(high)


@pytest.mark.parametrize("text", ["model.mode=full", "sampling.steps", "sampling.group_size=2", ""])
def test_only_a_geometry_is_compared(text: str) -> None:
    with pytest.raises(BadInputError, match="expected KEY=VALUE"):
        named_geometry(text)


def test_a_geometry_of_several_settings() -> None:
    assert named_geometry("sampling.steps=8, training.noise_levels=2") == (
        "sampling.steps=8",
        "training.noise_levels=2",
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--geometry", "model.mode=full"], "expected KEY=VALUE"),
        (["--geometry", "training.noise_level=2"], "training.noise_level: unknown key"),
        (["--geometries", "--batches", 2], "at least 3 batches"),
    ],
)
def test_faults_are_found_before_anything_is_loaded(
    marble: Marble, recipe_without_weights: Path, options: list[object], message: str
) -> None:
    shown = marble("inspect-conflicts", recipe_without_weights, *options)
    assert shown.code == 2
    assert message in shown.err
    assert len(shown.err.splitlines()) == 1


@pytest.fixture
def recipe_without_weights(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue("recipe")
    return path


def test_a_probe_says_what_a_step_buys_and_compares(marble: Marble, tiny_recipe: Path) -> None:
    geometry = "sampling.steps=3,training.noise_levels=1"
    arguments = ("--batches", 3, "--geometry", geometry, "--json")
    shown = marble("inspect-conflicts", tiny_recipe, *arguments)
    assert shown.code == 0, shown.err
    found = json.loads(shown.out)["step_value"]
    assert (found["measured_by"], found["batches"]) == ("batches", 3)
    (other,) = found["geometries"]
    assert other["overrides"] == geometry.split(",")
    assert (other["passes"]["sampling"], other["passes"]["rows"]) == (3, 1)
    assert set(found["squared_signal_to_noise"]) == {"shapes-colour", "shapes-aesthetic"}
