"""One optimizer batch, cut into rows: an image at one of its noise levels each."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from marblecli.engine.copies import to_device
from marblecli.models.conditioning import Conditioning
from marblecli.seeding import torch_stream
from marblecli.types import BoolArray, IntArray

_LEVEL_BOUNDS = (0.0, 0.33, 0.67, 1.0)


def split_halves(sources: Sequence[str], groups: IntArray) -> BoolArray:
    """[N], which half each image belongs to: the groups of every source take turns.

    ``sources`` [N] and ``groups`` [N] name each image's prompt source and group. Whole groups,
    because the advantages of a group sum to zero, which would set its own halves at odds.
    """
    half: dict[int, bool] = {}
    turns: Counter[str] = Counter()
    starts = {source: index % 2 for index, source in enumerate(dict.fromkeys(sources))}
    for source, group in zip(sources, groups.tolist(), strict=True):
        if group not in half:
            half[group] = (starts[source] + turns[source]) % 2 == 1
            turns[source] += 1
    return np.array([half[group] for group in groups.tolist()])


def row_slices(sources: Sequence[str], levels: Tensor) -> dict[str, Tensor]:
    """Bool [N, T] by name: the rows of each source [N], and of each third of the noise levels."""
    slices = {}
    for source in dict.fromkeys(sources):
        of_source = torch.tensor([one == source for one in sources], device=levels.device)
        slices[f"source {source}"] = of_source[:, None].expand(levels.shape)
    for low, high in itertools.pairwise(_LEVEL_BOUNDS):
        slices[f"noise {low}-{high}"] = (levels > low) & (levels <= high)
    return slices


@dataclass(frozen=True)
class LossSettings:
    """The constants of the loss."""

    mix: float
    """beta of DiffusionNFT."""
    advantage_clip: float
    """c: the losses are scaled by c / beta."""
    kl_weight: float
    """kappa."""
    micro_batch_size: int


@dataclass(frozen=True)
class TrainingBatch:
    """One optimizer batch, or one process's part of it: N images, each at T noise levels."""

    latents: Tensor
    """[N, C, h, w], x0."""
    conditioning: Conditioning
    """Of the N images."""
    levels: Tensor
    """[N, T], t in (0, 1), no two of an image alike."""
    advantages: Tensor
    """[N, K], A_ik; 0 where the reward doesn't apply."""
    optimality: Tensor
    """[N, K], r_ik."""
    shares: Tensor
    """[N, K], m_ik / n_k."""
    halves: Tensor
    """bool [N], which half of the batch an image is in; a prompt's images are in one."""
    noise_seed: tuple[int, ...]
    """Seed of the run, step, and a number where the images aren't for training: the noise of a row
    depends on these, its level's index and image."""
    slices: Mapping[str, Tensor] = field(default_factory=dict)
    """Bool [N, T] by name: rows whose signal is wanted by itself."""
    start: int = 0
    """The place of the first image in the whole batch."""
    elsewhere: int = 0
    """Images of the whole batch that other processes have."""

    @property
    def whole(self) -> int:
        """Images of the whole batch."""
        return len(self.latents) + self.elsewhere

    @property
    def whole_rows(self) -> int:
        """Rows of the whole batch: each of its images at each noise level."""
        return self.whole * self.levels.shape[1]

    def rows(self, size: int) -> Iterator[Rows]:
        """Micro-batches of at most ``size`` images at one noise level each; none of no images."""
        if not len(self.latents):
            return
        for index in range(self.levels.shape[1]):
            noise = self._noise(index)
            for start in range(0, len(self.latents), size):
                images = slice(start, start + size)
                yield Rows(
                    latents=self.latents[images],
                    noise=noise[images],
                    levels=self.levels[images, index],
                    conditioning=self.conditioning[images],
                    optimality=self.optimality[images],
                    shares=self.shares[images],
                    halves=self.halves[images],
                    slices=self._slices(images, index),
                )

    def head(self, size: int) -> TrainingBatch:
        """The first micro-batch as a batch by itself: ``size`` images at one noise level."""
        mine = min(max(size - self.start, 0), len(self.latents))
        return replace(
            self,
            latents=self.latents[:mine],
            conditioning=self.conditioning[slice(mine)],
            levels=self.levels[:mine, :1],
            advantages=self.advantages[:mine],
            optimality=self.optimality[:mine],
            shares=self.shares[:mine],
            halves=self.halves[:mine],
            slices={},
            elsewhere=min(size, self.whole) - mine,
        )

    def micro_steps(self, size: int) -> int:
        """How many micro-batches :meth:`rows` yields."""
        return self.levels.shape[1] * -(-len(self.latents) // size)

    def scale(self, settings: LossSettings) -> float:
        """C / beta, divided by the T noise levels: what multiplies the losses' sums over rows."""
        return settings.advantage_clip / settings.mix / self.levels.shape[1]

    def _slices(self, images: slice, index: int) -> Tensor:
        columns = [chosen[images, index] for chosen in self.slices.values()]
        empty = self.halves[images, None][:, :0]
        return torch.stack(columns, 1) if columns else empty

    def _noise(self, index: int) -> Tensor:
        seed, *place = self.noise_seed
        generator = torch_stream(seed, "noise", *place, index)
        # For the whole batch, so that the noise doesn't depend on how it is divided.
        noise = torch.randn((self.whole, *self.latents.shape[1:]), generator=generator)
        mine = noise[self.start :][: len(self.latents)].to(self.latents.dtype)
        return to_device(mine, self.latents.device)


@dataclass(frozen=True)
class Rows:
    """B images at one noise level each; shapes as in ``TrainingBatch``, with B for N."""

    latents: Tensor
    noise: Tensor
    levels: Tensor
    conditioning: Conditioning
    optimality: Tensor
    shares: Tensor
    halves: Tensor
    slices: Tensor
    """bool [B, slices]"""
