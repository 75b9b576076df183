"""The noise levels of one optimizer batch, as ``[training.levels]`` asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from marblecli.errors import BadInputError
from marblecli.maths.levels import (
    bin_probabilities,
    binned_levels,
    grid_levels,
    logit_normal_levels,
    strata,
    uniform_levels,
    uniform_over_logit_normal,
)
from marblecli.seeding import stream
from marblecli.settings import LevelSettings, Recipe
from marblecli.types import FloatArray, Json

BINS = 8
"""Equal bins of the range of levels, whose rows are measured apart to draw levels by signal."""
_MEMORY = 0.9
"""What a measurement counts when the next one is made."""
_EVEN_SHARE = 0.2
"""The share of the rows that is drawn uniformly whatever was measured: no weight is above 5, and
every bin goes on being measured."""


@dataclass(frozen=True)
class LevelSignal:
    """What was measured of the rows' gradients by noise level, in :data:`BINS` bins."""

    moments: tuple[float, ...] = (0.0,) * BINS
    """Sums of the bins' mean squared gradients of a row times :attr:`rows`, relative to the mean
    over the bins."""
    rows: tuple[float, ...] = (0.0,) * BINS
    """How many rows they come from. Both sums forget."""

    @property
    def probabilities(self) -> FloatArray:
        """[B], with which the bins are drawn; a bin without rows counts as the mean of the rest."""
        moments, rows = np.array(self.moments), np.array(self.rows)
        known = rows > 0.0
        means = np.divide(moments, rows, out=np.zeros(BINS), where=known)
        rest = means[known].mean() if known.any() else 0.0
        return bin_probabilities(np.where(known, means, rest), _EVEN_SHARE)

    def remember(self, squares: FloatArray, rows: FloatArray) -> LevelSignal:
        """With a new measurement: one batch's gradients from the rows of each bin.

        ``squares`` [B, K] are the squared norms of each reward's gradient, and ``rows`` [B] the
        sums of the rows' squared weights. Nearly all of a row's gradient is noise, so its mean
        squared norm is about the one over the other. Each reward's is taken relative to its mean
        over the bins, because the rewards' gradients are balanced as unit vectors.
        """
        seen = rows > 0.0
        means = np.divide(squares, rows[:, None], out=np.zeros_like(squares), where=seen[:, None])
        scales = means[seen].mean(0) if seen.any() else np.zeros(squares.shape[1])
        usable = np.isfinite(scales) & (scales > 0.0)
        if not usable.any():
            return self
        relative = (means[:, usable] / scales[usable]).mean(1)
        return LevelSignal(
            tuple((_MEMORY * np.array(self.moments) + relative * rows).tolist()),
            tuple((_MEMORY * np.array(self.rows) + rows).tolist()),
        )

    def to_json(self) -> dict[str, Json]:
        """For a checkpoint."""
        return {"moments": list(self.moments), "rows": list(self.rows)}

    @classmethod
    def from_json(cls, saved: Mapping[str, Json] | None) -> LevelSignal:
        """What :meth:`to_json` gave; nothing measured for None, as in older checkpoints."""
        if saved is None:
            return cls()
        return cls(tuple(saved["moments"]), tuple(saved["rows"]))


UNMEASURED = LevelSignal()
"""Levels are drawn uniformly."""


@dataclass(frozen=True)
class DrawnLevels:
    """N images, each at T noise levels."""

    levels: FloatArray
    """[N, T]."""
    weights: FloatArray | None = None
    """[N, T], by which the rows' losses are multiplied; None for 1."""


def draw_levels(
    recipe: Recipe,
    sampler_levels: FloatArray,
    images: int,
    place: tuple[int, ...],
    signal: LevelSignal,
) -> DrawnLevels:
    """Draw the levels of ``images`` images; ``place`` names the batch for the random stream.

    ``sampler_levels`` [L] are those that the sampler steps through. ``signal`` is what earlier
    batches have shown.

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
    if settings.draw == "signal":
        return DrawnLevels(*binned_levels(quantiles, low, high, signal.probabilities))
    shape = (low, high, settings.mean, settings.std)
    levels = logit_normal_levels(quantiles, *shape)
    weights = uniform_over_logit_normal(levels, *shape) if settings.weighted else None
    return DrawnLevels(levels, weights)


def bin_bounds(settings: LevelSettings) -> tuple[float, ...]:
    """The bounds of the bins of :class:`LevelSignal` in the recipe's range, B + 1 of them."""
    bounds = np.linspace(settings.low, settings.high, BINS + 1)
    return tuple(np.round(bounds, 6).tolist())


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
