from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from marblecli.maths.levels import (
    grid_levels,
    logit_normal_levels,
    strata,
    uniform_levels,
    uniform_over_logit_normal,
)

GRID = np.array([1.0, 0.9, 0.6])


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_grids_levels_are_drawn_without_replacement() -> None:
    levels = grid_levels(GRID, 50, 2, rng())
    assert levels.shape == (50, 2)
    assert (levels[:, 0] != levels[:, 1]).all()
    assert set(levels.flat) == set(GRID)


def test_each_level_of_a_grid_comes_back_only_after_all_were_drawn() -> None:
    levels = grid_levels(GRID, 50, 7, rng())
    counts = (levels[:, :, None] == GRID).sum(1)
    assert set(map(tuple, np.sort(counts))) == {(2, 2, 3)}
    # Also within the turns: none comes twice among the first three.
    assert ((levels[:, :3, None] == GRID).sum(1) == 1).all()


def test_an_image_has_one_number_in_each_stratum_and_each_number_is_uniform() -> None:
    numbers = strata(4000, 4, rng())
    assert (np.sort((numbers * 4).astype(int)) == np.arange(4)).all()
    for column in numbers.T:
        assert column.mean() == pytest.approx(0.5, abs=0.02)
        assert column.var() == pytest.approx(1 / 12, abs=0.005)


def test_uniform_levels_span_the_range() -> None:
    assert uniform_levels(np.array([0.0, 0.5, 1.0]), 0.6, 1.0) == pytest.approx([0.6, 0.8, 1.0])


def test_the_median_of_the_logit_normal_is_the_logistic_of_its_mean() -> None:
    median = logit_normal_levels(np.array([0.5]), 0.0, 1.0, 0.7, 1.3)
    assert median == pytest.approx([1 / (1 + np.exp(-0.7))])


def test_a_range_cuts_the_logit_normal_off() -> None:
    levels = logit_normal_levels(np.linspace(0, 1, 101), 0.3, 0.8, 0.0, 1.0)
    assert levels[0] == pytest.approx(0.3)
    assert levels[-1] == pytest.approx(0.8)
    assert (np.diff(levels) > 0).all()


@pytest.mark.parametrize(
    "shape", [(0.05, 0.95, 0.0, 1.0), (0.3, 0.9, 0.5, 0.8), (0.5, 0.99, 1.0, 2.0)]
)
def test_weights_turn_a_mean_over_drawn_levels_into_one_over_uniform_levels(
    shape: tuple[float, float, float, float],
) -> None:
    low, high = shape[:2]
    levels = logit_normal_levels((np.arange(200_000) + 0.5) / 200_000, *shape)
    weights = uniform_over_logit_normal(levels, *shape)
    found = np.mean(weights * np.sin(5 * levels))
    expected = quad(lambda level: np.sin(5 * level), low, high)[0] / (high - low)
    assert found == pytest.approx(expected, abs=2e-3)
