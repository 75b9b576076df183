from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from marblecli.maths.levels import (
    bin_probabilities,
    binned_levels,
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


def test_quantiles_are_laid_over_bins_in_proportion_to_their_probabilities() -> None:
    """Of four bins from 0 to 1, the first has half of the probability and the last an eighth."""
    probabilities = np.array([0.5, 0.25, 0.125, 0.125])
    quantiles = np.array([0.0, 0.25, 0.5, 0.75, 0.9375])
    levels, weights = binned_levels(quantiles, 0.0, 1.0, probabilities)
    assert levels == pytest.approx([0.0, 0.125, 0.25, 0.5, 0.875])
    assert weights == pytest.approx([0.5, 0.5, 1.0, 2.0, 2.0])


def test_weights_turn_a_mean_over_binned_levels_into_one_over_uniform_levels() -> None:
    quantiles = (np.arange(100_000) + 0.5) / 100_000
    levels, weights = binned_levels(quantiles, 0.5, 0.9, np.array([0.1, 0.6, 0.3]))
    expected = quad(lambda level: np.sin(5 * level), 0.5, 0.9)[0] / 0.4
    assert np.mean(weights * np.sin(5 * levels)) == pytest.approx(expected, abs=1e-4)


def test_bins_of_known_moments_have_probabilities_by_their_roots() -> None:
    assert bin_probabilities(np.array([4.0, 16.0]), 0.0) == pytest.approx([1 / 3, 2 / 3])
    assert bin_probabilities(np.array([0.0, 1.0]), 0.5) == pytest.approx([0.25, 0.75])
    assert bin_probabilities(np.zeros(4), 0.2) == pytest.approx([0.25] * 4)


def test_no_other_draw_of_bins_has_a_smaller_second_moment() -> None:
    """The second moment of a row over its probability is the sum of moments over probabilities."""
    rng = np.random.default_rng(0)
    moments = rng.lognormal(size=6)
    best = (moments / bin_probabilities(moments, 0.0)).sum()
    others = (moments / rng.dirichlet(np.ones(6), size=1000)).sum(1)
    assert (others >= best).all()
