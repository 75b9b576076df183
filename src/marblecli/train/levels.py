"""The noise levels of one optimizer batch, as ``[training.levels]`` asks for them."""

from __future__ import annotations

from dataclasses import dataclass

from marblecli.errors import BadInputError
from marblecli.maths.levels import (
    grid_levels,
    logit_normal_levels,
    strata,
    uniform_levels,
    uniform_over_logit_normal,
)
from marblecli.seeding import stream
from marblecli.settings import LevelSettings, Recipe
from marblecli.types import FloatArray


@dataclass(frozen=True)
class DrawnLevels:
    """N images, each at T noise levels."""

    levels: FloatArray
    """[N, T]."""
    weights: FloatArray | None = None
    """[N, T], by which the rows' losses are multiplied; None for 1."""


def draw_levels(
    recipe: Recipe, sampler_levels: FloatArray, images: int, place: tuple[int, ...]
) -> DrawnLevels:
    """Draw the levels of ``images`` images; ``place`` names the batch for the random stream.

    ``sampler_levels`` [L] are those that the sampler steps through.

    Raises BadInputError if none of them is in the recipe's range.
    """
    settings, count = recipe.training.levels, recipe.training.noise_levels
    low, high = settings.low, settings.high
    rng = stream(recipe.run.seed, "noise-levels", *place)
    if settings.draw == "sampler":
        grid = sampler_levels_within(settings, sampler_levels)
        return DrawnLevels(grid_levels(grid, images, count, rng))
    quantiles = strata(images, count, rng)
    if settings.draw == "uniform":
        return DrawnLevels(uniform_levels(quantiles, low, high))
    shape = (low, high, settings.mean, settings.std)
    levels = logit_normal_levels(quantiles, *shape)
    weights = uniform_over_logit_normal(levels, *shape) if settings.weighted else None
    return DrawnLevels(levels, weights)


def check_range(settings: LevelSettings, sampler_levels: FloatArray) -> None:
    """Raise BadInputError if levels of the sampler are asked for and none is in the range."""
    if settings.draw == "sampler":
        sampler_levels_within(settings, sampler_levels)


def sampler_levels_within(settings: LevelSettings, sampler_levels: FloatArray) -> FloatArray:
    """Those of the sampler's levels [L] that are in the recipe's range.

    Raises BadInputError if there is none.
    """
    within = (sampler_levels >= settings.low) & (sampler_levels <= settings.high)
    if not within.any():
        known = ", ".join(f"{level:.3f}" for level in sampler_levels)
        raise BadInputError(
            f"training.levels: no level of the sampler is between {settings.low} and "
            f'{settings.high}; choose a range with one of {known}, or draw = "uniform"'
        )
    return sampler_levels[within]
