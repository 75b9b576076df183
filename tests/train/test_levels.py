from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from marblecli.errors import BadInputError
from marblecli.settings import LevelSettings, Recipe
from marblecli.train.levels import (
    BINS,
    UNMEASURED,
    LevelSignal,
    bin_bounds,
    draw_levels,
    sampler_levels_within,
)
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
    drawn = draw_levels(recipe, SAMPLER, 40, PLACE, UNMEASURED)
    assert drawn.levels.shape == (40, 5)
    assert drawn.levels.min() >= 0.65
    assert drawn.levels.max() <= 0.95
    assert drawn.weights is None


def test_only_the_samplers_own_levels_are_drawn_by_default(tmp_path: Path) -> None:
    drawn = draw_levels(recipe_with(tmp_path), SAMPLER, 40, PLACE, UNMEASURED)
    assert set(drawn.levels.flat) == set(SAMPLER)


def test_a_batch_has_the_same_levels_again_and_another_batch_has_others(tmp_path: Path) -> None:
    recipe = recipe_with(tmp_path, "levels.draw=uniform")
    drawn = (draw_levels(recipe, SAMPLER, 4, (step,), UNMEASURED) for step in (1, 1, 2))
    first, again, other = (each.levels for each in drawn)
    assert (first == again).all()
    assert (first != other).all()


def test_weighted_levels_have_a_mean_weight_of_one(tmp_path: Path) -> None:
    options = ["draw=logit-normal", "weighted=true", "mean=0.5", "low=0.1", "high=0.95"]
    recipe = recipe_with(tmp_path, *(f"levels.{option}" for option in options))
    weights = draw_levels(recipe, SAMPLER, 4000, PLACE, UNMEASURED).weights
    assert weights is not None
    assert weights.mean() == pytest.approx(1.0, abs=0.02)


def test_a_range_without_a_level_of_the_sampler_names_them() -> None:
    with pytest.raises(BadInputError, match=r"between 0\.45 and 0\.6.*0\.700, 0\.400"):
        sampler_levels_within(LevelSettings(low=0.45, high=0.6), SAMPLER)


ROWS = np.full(BINS, 36.0)


def measured(squares: np.ndarray, rows: np.ndarray = ROWS) -> LevelSignal:
    return UNMEASURED.remember(np.asarray(squares, dtype=float), rows)


def test_levels_are_drawn_uniformly_until_something_was_measured() -> None:
    assert UNMEASURED.probabilities == pytest.approx([1 / BINS] * BINS)
    assert UNMEASURED.remember(np.zeros((BINS, 2)), np.zeros(BINS)) == UNMEASURED


def test_bins_are_drawn_by_the_root_of_a_rows_mean_square() -> None:
    """One bin of eight has nine times the squared gradient: three of ten parts, and a fifth of the
    draw is even."""
    squares = np.full((BINS, 1), 36.0)
    squares[2] *= 9.0
    found = measured(squares).probabilities
    assert found[2] == pytest.approx(0.8 * 0.3 + 0.2 / 8)
    assert found[0] == pytest.approx(0.8 * 0.1 + 0.2 / 8)
    assert found.sum() == pytest.approx(1.0)


def test_more_rows_in_a_bin_or_larger_weights_are_no_signal() -> None:
    rows = ROWS * np.linspace(1.0, 5.0, BINS)
    assert measured(rows[:, None] * 7.0, rows).probabilities == pytest.approx([1 / BINS] * BINS)


def test_each_reward_counts_by_its_own_gradients() -> None:
    squares = np.random.default_rng(0).lognormal(size=(BINS, 3))
    scaled = measured(squares * [1e-6, 1.0, 1e4])
    assert scaled.probabilities == pytest.approx(measured(squares).probabilities)


def test_rewards_that_are_not_finite_or_have_no_gradient_do_not_count() -> None:
    squares = np.random.default_rng(0).lognormal(size=(BINS, 3))
    alone = measured(squares[:, :1])
    squares[3, 1], squares[:, 2] = np.nan, 0.0
    assert measured(squares) == alone
    assert UNMEASURED.remember(squares[:, 1:], ROWS) == UNMEASURED


def test_a_bin_without_rows_is_drawn_like_the_mean_of_the_rest() -> None:
    rows = ROWS.copy()
    rows[0] = 0.0
    assert measured(rows[:, None] * 2.0, rows).probabilities == pytest.approx([1 / BINS] * BINS)


def test_later_measurements_count_more_than_earlier_ones() -> None:
    first, second = np.full((BINS, 1), 1.0), np.full((BINS, 1), 1.0)
    first[0], second[1] = 50.0, 50.0
    found = measured(first).remember(second, ROWS).probabilities
    assert found[1] > found[0] > found[2]


def test_what_was_measured_survives_a_checkpoint_to_the_bit() -> None:
    signal = measured(np.random.default_rng(0).lognormal(size=(BINS, 3)))
    assert LevelSignal.from_json(json.loads(json.dumps(signal.to_json()))) == signal
    assert LevelSignal.from_json(None) == UNMEASURED


def test_levels_drawn_by_signal_have_the_uniform_expectation(tmp_path: Path) -> None:
    recipe = recipe_with(tmp_path, *(f"levels.{o}" for o in ("draw=signal", "low=0.6")))
    signal = measured(np.random.default_rng(1).lognormal(sigma=2.0, size=(BINS, 2)))
    drawn = draw_levels(recipe, SAMPLER, 20_000, PLACE, signal)
    assert drawn.weights is not None
    assert drawn.weights.max() <= 5.0 + 1e-9
    for power in (0, 1, 3):
        expected = (1.0 - 0.6 ** (power + 1)) / (0.4 * (power + 1))
        assert np.mean(drawn.weights * drawn.levels**power) == pytest.approx(expected, rel=5e-3)
    shares = np.histogram(drawn.levels, bin_bounds(recipe.training.levels))[0] / drawn.levels.size
    assert shares == pytest.approx(signal.probabilities, abs=5e-3)
