"""The rows of one optimizer batch that are trained, as ``[training.rows]`` asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from marblecli.engine.copies import to_device
from marblecli.maths.rows import (
    at_least,
    extremes,
    in_constant_group,
    inclusion_probabilities,
    pull_factors,
    row_sizes,
    systematic_sample,
)
from marblecli.seeding import stream
from marblecli.settings import Recipe, RowSettings
from marblecli.types import BoolArray, FloatArray, IntArray, RewardTable


@dataclass(frozen=True)
class RowCounts:
    """How many rows a step has trained, in all processes."""

    all: int
    """N images at T noise levels."""
    trained: int
    constant_groups: int = 0
    """Groups that were left out because no reward varies in them."""


@dataclass(frozen=True)
class Scored:
    """The rewards of all N images, and what follows from them."""

    table: RewardTable
    groups: IntArray
    """[N], the group of each image."""
    advantages: FloatArray
    """[N, K]."""
    optimality: FloatArray
    """[N, K]."""
    shares: FloatArray
    """[N, K], m_ik / n_k."""


@dataclass(frozen=True)
class Selection:
    """Which rows of a batch, or of one process's part of it, are trained."""

    kept: Tensor
    """Bool [N, T], on the CPU."""
    weights: Tensor
    """[N, T], by which the kept rows' losses are multiplied."""
    pull: Tensor
    """[K], by which the pull of each reward is multiplied besides."""
    regulariser: float
    """By which the regulariser is multiplied besides."""
    counts: RowCounts

    def of(self, images: slice) -> Selection:
        """The part of some of the images."""
        return replace(self, kept=self.kept[images], weights=self.weights[images])

    def to(self, device: torch.device) -> Selection:
        """With the weights on the device."""
        weights, pull = to_device(self.weights, device), to_device(self.pull, device)
        return replace(self, weights=weights, pull=pull)

    def of_one_loss(self) -> Selection:
        """For a single loss, whose mean is over all images."""
        return replace(self, pull=self.pull.new_full((1,), self.regulariser))

    @property
    def rows(self) -> int:
        """How many rows are kept here."""
        return int(self.kept.sum())

    def micro_batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The images [B] and the numbers of their levels [B] of at most ``size`` kept rows each.

        Rows are in the order of the numbers of their levels.
        """
        numbers, images = self.kept.T.nonzero(as_tuple=True)
        yield from zip(images.split(size), numbers.split(size), strict=True)

    def targets(self, optimality: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
        """The ``optimality`` and ``shares`` [B, K] whose losses have a pull that is multiplied.

        A loss is share (r l+ + (1 - r) l-), or share ((r - 1/2) (l+ - l-) + (l+ + l-) / 2). Its
        second term is the pull, which doesn't depend on rewards. With share f and 1/2 + (r - 1/2)
        / f in place of share and r, the second term is multiplied by f and the first one isn't.
        """
        return 0.5 + (optimality - 0.5) / self.pull, shares * self.pull


def select_rows(
    recipe: Recipe, scored: Scored, place: tuple[int, ...], parts: Sequence[slice], *, even: bool
) -> Selection | None:
    """Choose the rows of a batch that are trained; None for all.

    ``place`` names the batch for the random streams, and ``parts`` are the images of each process.
    All processes choose alike. A process keeps at least one row, and as many as all others if they
    have to be ``even``; rows that are kept for this alone have weights of 0.
    """
    settings, levels = recipe.training.rows, recipe.training.noise_levels
    images, constant = _images(settings, scored, recipe.run.seed, place)
    kept = np.repeat(images[:, None], levels, axis=1)
    weights = kept.astype(np.float64)
    if settings.draw == "by-size":
        rng = stream(recipe.run.seed, "rows", *place)
        kept, weights = _drawn(settings, scored, kept, rng)
    if kept.all():
        return None
    counts = [int(kept[part].sum()) for part in parts]
    factors = pull_factors(scored.shares, images)
    return Selection(
        kept=torch.from_numpy(at_least(kept, parts, max(counts) if even else 1)),
        weights=torch.from_numpy(weights).float(),
        pull=torch.from_numpy(factors).float(),
        regulariser=len(images) / int(images.sum()),
        counts=RowCounts(kept.size, int(kept.sum()), constant),
    )


def _images(
    settings: RowSettings, scored: Scored, seed: int, place: tuple[int, ...]
) -> tuple[BoolArray, int]:
    """[N], the images that aren't left out; and the number of constant groups that are."""
    table, groups = scored.table, scored.groups
    kept, constant = np.ones(len(groups), dtype=bool), 0
    if settings.skip_constant_groups:
        still = in_constant_group(table.values, table.valid, groups)
        if not still.all():
            kept, constant = ~still, len(np.unique(groups[still]))
    if settings.extremes:
        rng = stream(seed, "turns", *place)
        for group in np.unique(groups):
            here = np.flatnonzero(groups == group)
            order = rng.permutation(len(table.names)).tolist()
            kept[here] &= extremes(scored.advantages[here], settings.extremes, order)
    return kept, constant


def _drawn(
    settings: RowSettings, scored: Scored, kept: BoolArray, rng: np.random.Generator
) -> tuple[BoolArray, FloatArray]:
    """[N, T] each: which of the ``kept`` rows are drawn, and their weights."""
    order = rng.permutation(len(kept))
    sizes = row_sizes(scored.shares * (2.0 * scored.optimality - 1.0))
    # All rows of an image stand together, so that images are drawn evenly.
    images, numbers = np.nonzero(kept[order])
    images = order[images]
    count = max(1, round(settings.share * len(images)))
    probabilities = inclusion_probabilities(sizes[images], count)
    drawn = systematic_sample(probabilities, rng.random())
    chosen, weights = np.zeros_like(kept), np.zeros(kept.shape)
    chosen[images[drawn], numbers[drawn]] = True
    weights[images[drawn], numbers[drawn]] = 1.0 / probabilities[drawn]
    return chosen, weights
