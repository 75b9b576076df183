"""What a method gains, over the images and seeds that all methods share, and how sure that is.

All runs of a seed evaluate the same prompts from the same initial noise, so a gain is a mean over
pairs of images, and a difference of two methods is one over the same pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from marblecli.maths.pairs import pair_images
from marblecli.types import EvaluationRecord, FloatArray

DRAWS = 2000


@dataclass(frozen=True)
class Gains:
    """Sums of one method's gains in one split; S seeds, P prompts, K rewards."""

    seeds: tuple[int, ...]
    totals: FloatArray
    """[K, S, P], the sum of the gains of a prompt's images."""
    counts: FloatArray
    """[K, S, P], how many they are; 0 where the reward doesn't apply."""

    def only(self, seeds: Sequence[int]) -> Gains:
        """Of these seeds, in their order."""
        places = [self.seeds.index(seed) for seed in seeds]
        return Gains(tuple(seeds), self.totals[:, places], self.counts[:, places])

    @property
    def shape(self) -> tuple[int, int]:
        """(seeds, prompts)"""
        return len(self.seeds), self.totals.shape[2]

    @property
    def means(self) -> FloatArray:
        """[K], over all images of all seeds; NaN where there is none."""
        return _ratio(self.totals.sum((1, 2)), self.counts.sum((1, 2)))

    @property
    def by_seed(self) -> FloatArray:
        """[K, S]"""
        return _ratio(self.totals.sum(2), self.counts.sum(2))

    def redrawn(self, draws: Draws) -> FloatArray:
        """[draws, K], the means if other seeds and prompts had been drawn."""
        weights = draws.seeds, draws.prompts
        drawn = [
            np.einsum("ds,ksp,dp->dk", weights[0], each, weights[1], optimize=True)
            for each in (self.totals, self.counts)
        ]
        return _ratio(drawn[0], drawn[1])


@dataclass(frozen=True)
class Draws:
    """How often each seed [draws, S] and each prompt [draws, P] was drawn."""

    seeds: FloatArray
    prompts: FloatArray


def draw(seeds: int, prompts: int, rng: np.random.Generator, draws: int = DRAWS) -> Draws:
    """Draw seeds and prompts with replacement, each apart from the other.

    Source: Owen 2007, "The pigeonhole bootstrap", for data with two crossed factors. Its intervals
    are a little too wide rather than too narrow.
    """
    return Draws(
        rng.multinomial(seeds, np.full(seeds, 1.0 / seeds), draws).astype(float),
        rng.multinomial(prompts, np.full(prompts, 1.0 / prompts), draws).astype(float),
    )


def gains_of(
    pairs: Mapping[int, tuple[EvaluationRecord, EvaluationRecord]],
    rewards: Sequence[str],
    split: str,
) -> Gains:
    """``pairs`` are the base model's and the method's evaluation by seed; there is at least one.

    A prompt is known by its place in the split. Raises BadInputError if evaluations can't be
    paired.
    """
    found = [pair_images(*pair).get(split, ()) for pair in pairs.values()]
    prompts = 1 + max((image.place for images in found for image in images), default=-1)
    totals = np.zeros((len(rewards), len(pairs), prompts))
    counts = np.zeros_like(totals)
    for seed, images in enumerate(found):
        for image in images:
            for place, name in enumerate(rewards):
                before, after = image.first.get(name), image.second.get(name)
                if before is not None and after is not None:
                    totals[place, seed, image.place] += after - before
                    counts[place, seed, image.place] += 1.0
    return Gains(tuple(pairs), totals, counts)


def _ratio(totals: FloatArray, counts: FloatArray) -> FloatArray:
    found: FloatArray = np.full(totals.shape, np.nan)
    np.divide(totals, counts, out=found, where=counts > 0)
    return found
