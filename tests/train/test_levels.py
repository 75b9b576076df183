from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from marblecli.errors import BadInputError
from marblecli.settings import LevelSettings, Recipe
from marblecli.train.levels import draw_levels, sampler_levels_within
from support.recipes import load, write_recipe

SAMPLER = np.array([1.0, 0.9, 0.8, 0.7, 0.4, 0.2])
PLACE = (3,)


def recipe_with(folder: Path, *options: str) -> Recipe:
    write_recipe(folder)
    return load(folder, *(f"training.{option}" for option in options))


@pytest.mark.parametrize("draw", ["sampler", "uniform", "logit-normal"])
def test_every_level_is_in_the_range(tmp_path: Path, draw: str) -> None:
    options = (f"draw={draw}", "low=0.65", "high=0.95")
    levels = (f"levels.{option}" for option in options)
    recipe = recipe_with(tmp_path, *levels, "noise_levels=5")
    drawn = draw_levels(recipe, SAMPLER, 40, PLACE)
    assert drawn.levels.shape == (40, 5)
    assert drawn.levels.min() >= 0.65
    assert drawn.levels.max() <= 0.95
    assert drawn.weights is None


def test_only_the_samplers_own_levels_are_drawn_by_default(tmp_path: Path) -> None:
    drawn = draw_levels(recipe_with(tmp_path), SAMPLER, 40, PLACE)
    assert set(drawn.levels.flat) == set(SAMPLER)


def test_a_batch_has_the_same_levels_again_and_another_batch_has_others(tmp_path: Path) -> None:
    recipe = recipe_with(tmp_path, "levels.draw=uniform")
    first, again, other = (draw_levels(recipe, SAMPLER, 4, (step,)).levels for step in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).all()


def test_weighted_levels_have_a_mean_weight_of_one(tmp_path: Path) -> None:
    options = ["draw=logit-normal", "weighted=true", "mean=0.5", "low=0.1", "high=0.95"]
    recipe = recipe_with(tmp_path, *(f"levels.{option}" for option in options))
    weights = draw_levels(recipe, SAMPLER, 4000, PLACE).weights
    assert weights is not None
    assert weights.mean() == pytest.approx(1.0, abs=0.02)


def test_a_range_without_a_level_of_the_sampler_names_them() -> None:
    with pytest.raises(BadInputError, match=r"between 0\.45 and 0\.6.*0\.700, 0\.400"):
        sampler_levels_within(LevelSettings(low=0.45, high=0.6), SAMPLER)
