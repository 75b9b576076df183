"""What a forward pass buys: how sure a step's gradients are, for the passes that the step takes.

The figure is the squared signal-to-noise ratio of one batch's gradient, the mean over rewards, over
the forward passes that the batch takes for each image. Twice the images give twice the squared
ratio, and so does a geometry that takes half the passes: with equal numbers of images, ratios of
these figures are ratios of computing for a gradient that is equally sure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from marblecli.conflicts.record import ConflictRecord
from marblecli.maths.passes import ImagePasses
from marblecli.maths.signal import (
    batch_products,
    halves_signal_to_noise,
    jackknife_error,
    left_out,
    mean_ratio,
    squared_signal_to_noise,
)
from marblecli.types import FloatArray, IntArray

Pairs = Literal["batches", "halves"]
"""What is compared: different batches, or the two halves of each batch."""
LEAST_BATCHES = 3
"""An error needs as many: it is estimated without each batch in turn."""


@dataclass(frozen=True)
class PassValue:
    """What a forward pass buys with one geometry."""

    pairs: Pairs
    passes: ImagePasses
    squared: Mapping[str, float]
    """By reward, the squared signal-to-noise ratio of one batch. It is below 0 where batches agree
    less than by chance, and NaN where the reward has no gradient."""
    without: FloatArray
    """[B], the figure without each of the B batches."""

    @property
    def batches(self) -> int:
        """How many batches were measured."""
        return len(self.without)

    @property
    def per_pass(self) -> float:
        """The mean of the squared ratios, over the passes of an image."""
        return mean_ratio(np.array(list(self.squared.values()))) / self.passes.total

    @property
    def error(self) -> float:
        """The standard error of :attr:`per_pass` over batches."""
        return jackknife_error(self.without)

    def times(self, other: PassValue) -> tuple[float, float]:
        """The ratio of both figures, and its standard error; NaN unless the other one is above 0.

        Both must have as many batches, of the same prompts: what a batch of both has in common then
        cancels.
        """
        if min(other.per_pass, *other.without) <= 0.0:
            return float("nan"), float("nan")
        return self.per_pass / other.per_pass, jackknife_error(self.without / other.without)


@dataclass(frozen=True)
class OtherGeometry:
    """Another geometry that was measured, and what a pass buys with it."""

    overrides: tuple[str, ...]
    """``key=value`` items for the recipe."""
    value: PassValue
    times: float
    """What a pass buys with it, over what it buys with the recipe's own geometry."""
    error: float
    """The standard error of :attr:`times`."""

    @property
    def better(self) -> bool:
        """Whether it buys significantly more: by more than two errors."""
        return self.times - 2.0 * self.error > 1.0


@dataclass(frozen=True)
class StepValue:
    """What a step buys, where that was measured."""

    own: PassValue
    images: int
    """Images of a batch."""
    by_level: Mapping[str, float] = field(default_factory=dict)
    """By range of noise levels, the mean squared ratio of the range's rows alone."""
    others: tuple[OtherGeometry, ...] = ()
    comparable: bool = False
    """Whether other geometries can be measured beside it: that needs a recipe, not a run."""

    @property
    def best(self) -> OtherGeometry | None:
        """The geometry that buys most, of those that buy significantly more."""
        better = [each for each in self.others if each.better]
        return max(better, key=lambda each: each.times, default=None)


def value_between_batches(
    names: Sequence[str], vectors: Sequence[FloatArray], passes: ImagePasses
) -> PassValue:
    """From the signals [K, P] of each batch, or from sketches of them."""
    products = batch_products(np.array(vectors))

    def ratios(batches: IntArray) -> FloatArray:
        return squared_signal_to_noise(products[:, batches][:, :, batches])

    return _value("batches", names, ratios, len(vectors), passes)


def value_of_halves(records: Sequence[ConflictRecord], passes: ImagePasses) -> PassValue | None:
    """From the halves of each batch of a run; None if fewer than three have been measured so.

    Only batches with the rewards of the last one count.
    """
    names = records[-1].rewards
    parts = [
        record.part_grams
        for record in records
        if record.part_grams is not None and record.rewards == names
    ]
    if len(parts) < LEAST_BATCHES:
        return None

    def ratios(batches: IntArray) -> FloatArray:
        return halves_signal_to_noise([parts[each] for each in batches])

    return _value("halves", names, ratios, len(parts), passes)


def mean_squared_ratio(vectors: Sequence[FloatArray]) -> float:
    """The mean over rewards of the squared ratio, from the signals [K, P] of each batch."""
    return mean_ratio(squared_signal_to_noise(batch_products(np.array(vectors))))


def _value(
    pairs: Pairs,
    names: Sequence[str],
    ratios: Callable[[IntArray], FloatArray],
    count: int,
    passes: ImagePasses,
) -> PassValue:
    squared = dict(zip(names, ratios(np.arange(count)).tolist(), strict=True))
    without = left_out(lambda batches: mean_ratio(ratios(batches)) / passes.total, count)
    return PassValue(pairs, passes, squared, without)
