"""One optimizer batch, and its rows: each row is an image at one of its noise levels."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from marblecli import progress
from marblecli.engine.copies import to_device
from marblecli.models.conditioning import Conditioning
from marblecli.seeding import torch_stream
from marblecli.train.rows import RowCounts, Selection
from marblecli.types import BoolArray, FloatArray, Halves, IntArray

LEVEL_THIRDS = (0.0, 0.33, 0.67, 1.0)
"""The bounds of the ranges of noise levels whose signal is measured separately."""


def split_halves(sources: Sequence[str], groups: IntArray) -> BoolArray:
    """[N], which half of the batch each image is in: the groups of each source take turns.

    ``sources`` [N] and ``groups`` [N] are each image's prompt source and group. A group isn't
    split: its advantages sum to zero, so its two halves would point in opposite directions.
    """
    half: dict[int, bool] = {}
    turns: Counter[str] = Counter()
    starts = {source: index % 2 for index, source in enumerate(dict.fromkeys(sources))}
    for source, group in zip(sources, groups.tolist(), strict=True):
        if group not in half:
            half[group] = (starts[source] + turns[source]) % 2 == 1
            turns[source] += 1
    return np.array([half[group] for group in groups.tolist()])


def row_slices(
    sources: Sequence[str], levels: Tensor, bounds: Sequence[float] = LEVEL_THIRDS
) -> dict[str, Tensor]:
    """The rows of each prompt source, and of each range of noise levels: bool [N, T] by name.

    ``sources`` [N] is each image's prompt source, ``levels`` [N, T] its noise levels, and
    ``bounds`` are those of the ranges.
    """
    slices = {}
    for source in dict.fromkeys(sources):
        of_source = torch.tensor([one == source for one in sources], device=levels.device)
        slices[f"source {source}"] = of_source[:, None].expand(levels.shape)
    return {**slices, **level_slices(levels, bounds)}


def level_slices(levels: Tensor, bounds: Sequence[float]) -> dict[str, Tensor]:
    """The rows of each range of noise levels: bool [N, T] by name."""
    return {
        level_slice(low, high): (levels > low) & (levels <= high)
        for low, high in itertools.pairwise(bounds)
    }


def level_slice(low: float, high: float) -> str:
    """The name of the slice of the rows at these levels."""
    return f"noise {low}-{high}"


def row_halves(sources: Sequence[str], groups: IntArray, levels: int, split: Halves) -> BoolArray:
    """[N, T], which half of the batch each row is in, for T = ``levels`` rows of each image.

    ``prompts`` are those of :func:`split_halves`. ``levels`` puts every other row of each image
    into the second half; the levels of one image are in random order.
    """
    halves: BoolArray = (
        np.repeat(split_halves(sources, groups)[:, None], levels, axis=1)
        if split == "prompts"
        else np.tile(np.arange(levels) % 2 == 1, (len(groups), 1))
    )
    return halves


@dataclass(frozen=True)
class LossSettings:
    """The constants of the loss."""

    mix: float
    """beta of DiffusionNFT."""
    advantage_clip: float
    """c of DiffusionNFT: advantages are clipped to it, and losses are scaled by c / mix."""
    kl_weight: float
    """kappa, the weight of the regulariser."""
    micro_batch_size: int


@dataclass(frozen=True)
class TrainingBatch:
    """One optimizer batch, or one process's part of it: N images, each at T noise levels."""

    latents: Tensor
    """[N, C, h, w], x0."""
    conditioning: Conditioning
    """The embedded prompts of the N images."""
    levels: Tensor
    """[N, T], the noise levels t in (0, 1); those of one image differ."""
    advantages: Tensor
    """[N, K], the advantage A_ik; 0 where the reward doesn't apply."""
    optimality: Tensor
    """[N, K], the optimality probability r_ik."""
    shares: Tensor
    """[N, K], m_ik / n_k: 1 over the number of images that the reward applies to, or 0."""
    halves: Tensor
    """Bool [N, T], which half of the batch a row is in."""
    noise_seed: tuple[int, ...]
    """The run's seed, the step, and one more number if the images aren't for training. The noise of
    a row depends on these, on the index of its level and on its image."""
    slices: Mapping[str, Tensor] = field(default_factory=dict)
    """Bool [N, T] by name: groups of rows whose signal is also measured separately."""
    bin_rows: FloatArray | None = None
    """[B], for each bin of levels the sum of the squared weights of its rows, over all processes;
    None if the bins aren't among the slices."""
    weights: Tensor | None = None
    """[N, T], by which the rows' losses are multiplied; None for 1."""
    selection: Selection | None = None
    """Which rows are trained; None for all."""
    start: int = 0
    """The place of the first image in the whole batch."""
    elsewhere: int = 0
    """How many images of the whole batch other processes have."""

    @property
    def whole(self) -> int:
        """The number of images of the whole batch, in all processes."""
        return len(self.latents) + self.elsewhere

    @property
    def whole_rows(self) -> int:
        """The number of rows of the whole batch: each image at each of its noise levels."""
        return self.whole * self.levels.shape[1]

    @property
    def counts(self) -> RowCounts:
        """How many rows of the whole batch are trained."""
        rows = self.whole_rows
        return RowCounts(rows, rows) if self.selection is None else self.selection.counts

    def rows(self, size: int) -> Iterator[Rows]:
        """Micro-batches of at most ``size`` rows: images, each at one of its noise levels.

        There are none if this process has no rows. Raises StopRequestedError before one of them
        if the user wants to stop a single process.
        """
        if not self.micro_steps(size):
            return
        places = self._all(size) if self.selection is None else self._selected(self.selection, size)
        with progress.work("gradients", self.micro_steps(size), "micro-batches") as advance:
            for place in places:
                progress.check_alone()
                yield self._rows(*place)
                advance(1)

    def _all(self, size: int) -> Iterator[tuple[slice, int, Tensor]]:
        """The images of each micro-batch, the number of their level, and their noise."""
        for index in range(self.levels.shape[1]):
            noise = self._noise(index)
            for start in range(0, len(self.latents), size):
                images = slice(start, start + size)
                yield images, index, noise[images]

    def _selected(self, selection: Selection, size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The same of the selected rows, whose levels may have several numbers."""
        held: dict[int, Tensor] = {}
        for images, indices in selection.micro_batches(size):
            wanted = indices.unique().tolist()
            held = {i: held[i] if i in held else self._noise(i) for i in wanted}
            parts = [held[i][self._here(images[indices == i])] for i in wanted]
            yield self._here(images), self._here(indices), torch.cat(parts)

    def _here(self, places: Tensor) -> Tensor:
        return to_device(places, self.latents.device)

    def _rows(self, images: slice | Tensor, index: int | Tensor, noise: Tensor) -> Rows:
        """The ``images`` at their levels number ``index``, with their ``noise``."""
        weights = None if self.weights is None else self.weights[images, index]
        optimality, shares = self.optimality[images], self.shares[images]
        of_penalty = weights
        if self.selection is not None:
            drawn = self.selection.weights[images, index]
            weights = drawn if weights is None else drawn * weights
            optimality, shares = self.selection.targets(optimality, shares)
            of_penalty = weights * self.selection.regulariser
        return Rows(
            latents=self.latents[images],
            noise=noise,
            levels=self.levels[images, index],
            conditioning=self.conditioning[images],
            optimality=optimality,
            shares=shares if weights is None else shares * weights[:, None],
            weights=of_penalty,
            halves=self.halves[images, index],
            slices=self._slices(images, index),
        )

    def head(self, size: int) -> TrainingBatch:
        """The first images as a batch of their own: ``size`` images, each at its first level.

        None of these rows is left out.
        """
        mine = min(max(size - self.start, 0), len(self.latents))
        return replace(
            self,
            latents=self.latents[:mine],
            conditioning=self.conditioning[slice(mine)],
            levels=self.levels[:mine, :1],
            weights=None if self.weights is None else self.weights[:mine, :1],
            advantages=self.advantages[:mine],
            optimality=self.optimality[:mine],
            shares=self.shares[:mine],
            halves=self.halves[:mine, :1],
            slices={},
            bin_rows=None,
            selection=None,
            elsewhere=min(size, self.whole) - mine,
        )

    def micro_steps(self, size: int) -> int:
        """How many micro-batches :meth:`rows` yields."""
        if self.selection is not None:
            return -(-self.selection.rows // size)
        return self.levels.shape[1] * -(-len(self.latents) // size)

    def scale(self, settings: LossSettings) -> float:
        """advantage_clip / mix / T: the losses' sums over rows are multiplied by it."""
        return settings.advantage_clip / settings.mix / self.levels.shape[1]

    def _slices(self, images: slice | Tensor, index: int | Tensor) -> Tensor:
        columns = [chosen[images, index] for chosen in self.slices.values()]
        empty = self.halves[images, :0]
        return torch.stack(columns, 1) if columns else empty

    def _noise(self, index: int) -> Tensor:
        seed, *place = self.noise_seed
        generator = torch_stream(seed, "noise", *place, index)
        # Noise is drawn for the whole batch, so that it doesn't depend on the number of processes.
        noise = torch.randn((self.whole, *self.latents.shape[1:]), generator=generator)
        mine = noise[self.start :][: len(self.latents)].to(self.latents.dtype)
        return to_device(mine, self.latents.device)


@dataclass(frozen=True)
class Rows:
    """B images, each at one of its noise levels.

    The shapes are those of ``TrainingBatch`` with B for N and without T: ``levels`` is [B].
    """

    latents: Tensor
    noise: Tensor
    levels: Tensor
    conditioning: Conditioning
    optimality: Tensor
    shares: Tensor
    """[B, K], times the rows' weights."""
    weights: Tensor | None
    """[B], of the regulariser."""
    halves: Tensor
    slices: Tensor
    """Bool [B, number of slices]."""
