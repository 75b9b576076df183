"""Prompts -> images -> rewards -> advantages: the batch of one optimizer step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from marblecli.engine.copies import to_device
from marblecli.engine.processes import Processes
from marblecli.maths.advantages import advantages, optimality_probability
from marblecli.maths.nft import reward_shares
from marblecli.seeding import torch_stream
from marblecli.settings import Recipe
from marblecli.train.batch import (
    LEVEL_THIRDS,
    LossSettings,
    TrainingBatch,
    level_slices,
    row_halves,
    row_slices,
)
from marblecli.train.levels import UNMEASURED, DrawnLevels, LevelSignal, bin_bounds, draw_levels
from marblecli.train.rollout import Sampling, draw_prompts, group_numbers, sample_and_score
from marblecli.train.rows import Scored, Selection, select_rows
from marblecli.train.sampler import Sampler
from marblecli.types import FloatArray, IntArray, Prompt, RewardTable, Rollout

Purpose = Literal["rollout", "fresh"]
"""What images are for: ``rollout`` to train on, ``fresh`` to judge a step made without them."""


@dataclass(frozen=True)
class Collected:
    """Images of the old policy and their rewards; N is the number of images of all processes."""

    rollout: Rollout
    """This process's images."""
    table: RewardTable
    """The rewards of all N images."""
    sources: tuple[str, ...]
    """The prompt source of each of the N images."""
    groups: IntArray
    """[N], the group of each image."""
    start: int
    """The place of this process's first image among the N."""
    purpose: Purpose

    def faults(self) -> list[str]:
        """One line for each reward that failed on some of the images."""
        about = "" if self.purpose == "rollout" else " (on fresh images)"
        return [f"{fault.reward}: {fault.message}{about}" for fault in self.table.faults]


def step_prompts(
    recipe: Recipe, sources: Sequence[Sequence[Prompt]], step: int, purpose: Purpose = "rollout"
) -> tuple[Prompt, ...]:
    """The training prompts of optimizer step ``step`` (from 1), drawn from ``sources``."""
    drawn_for = "prompts" if purpose == "rollout" else "fresh-prompts"
    count = recipe.sampling.prompts_per_step
    return draw_prompts(sources, count, step, recipe.run.seed, drawn_for)


def collect(sampler: Sampler, step: int, purpose: Purpose = "rollout") -> Collected:
    """Sample and score the images of optimizer step ``step`` (from 1)."""
    recipe = sampler.recipe
    prompts = step_prompts(recipe, sampler.prompts.train, step, purpose)
    seed, count = recipe.run.seed, recipe.sampling.group_size
    generators = [torch_stream(seed, purpose, step, index) for index in range(len(prompts))]
    old = Sampling("old", recipe.sampling.steps, rewards=tuple(recipe.rewards))
    rollout, table = sample_and_score(sampler, old, prompts, count, generators)
    return Collected(
        rollout=rollout,
        table=table,
        sources=tuple(prompt.source for prompt in prompts for _ in range(count)),
        groups=group_numbers(len(prompts), count),
        start=count * sampler.processes.share(len(prompts)).start,
        purpose=purpose,
    )


def training_batch(
    sampler: Sampler, step: int, collected: Collected, signal: LevelSignal = UNMEASURED
) -> TrainingBatch:
    """Advantages by reward, noise levels, halves and, at the recipe's cadence, slices.

    All are drawn and computed for the whole batch; what is returned is this process's part.
    ``signal`` is what earlier batches have shown of the noise levels.
    """
    recipe, rollout, table = sampler.recipe, collected.rollout, collected.table
    device = sampler.device
    groups, sources = collected.groups, collected.sources
    scaled = advantages(table.values, table.valid, groups, recipe.training.advantage_scale)
    optimality = optimality_probability(scaled, recipe.training.advantage_clip)
    valid = torch.from_numpy(table.valid).float()
    shares = reward_shares(valid, valid.sum(0))
    mine = slice(collected.start, collected.start + len(rollout.prompts))
    place = (step,) if collected.purpose == "rollout" else (step, 1)
    drawn = draw_levels(recipe, sampler.sampling_levels(), len(groups), place, signal)
    levels = to_device(torch.from_numpy(drawn.levels).float(), device)
    weights = None if drawn.weights is None else torch.from_numpy(drawn.weights[mine]).float()
    every = recipe.measure.slices_every
    due = every > 0 and step % every == 0 and recipe.measure.parts
    sliced = due and collected.purpose == "rollout"
    binned = recipe.training.levels.draw == "signal"
    bounds = bin_bounds(recipe.training.levels) if binned else LEVEL_THIRDS
    slices = row_slices(sources, levels, bounds) if sliced else {}
    halves = row_halves(sources, groups, levels.shape[1], recipe.measure.halves)
    scored = Scored(table, groups, scaled, optimality, shares.double().numpy())
    selection = _selection(sampler, place, scored) if collected.purpose == "rollout" else None
    return TrainingBatch(
        latents=rollout.latents.float(),
        conditioning=sampler.backbone.conditioning([p.text for p in rollout.prompts]),
        levels=levels[mine],
        weights=None if weights is None else to_device(weights, device),
        advantages=to_device(torch.from_numpy(scaled[mine]).float(), device),
        optimality=to_device(torch.from_numpy(optimality[mine]).float(), device),
        shares=to_device(shares[mine], device),
        halves=to_device(torch.from_numpy(halves[mine]), device),
        noise_seed=(recipe.run.seed, *place),
        slices={name: rows[mine] for name, rows in slices.items()},
        bin_rows=_bin_rows(levels, bounds, drawn, selection) if sliced and binned else None,
        selection=None if selection is None else selection.of(mine).to(device),
        start=collected.start,
        elsewhere=len(groups) - len(rollout.prompts),
    )


def _bin_rows(
    levels: Tensor, bounds: Sequence[float], drawn: DrawnLevels, selection: Selection | None
) -> FloatArray:
    """[B], for each bin the sum of the squared weights of its rows in the whole batch."""
    weights = np.ones(levels.shape) if drawn.weights is None else drawn.weights
    if selection is not None:
        weights = weights * selection.weights.double().numpy()
    bins = level_slices(levels.cpu(), bounds).values()
    return np.array([float((weights[rows.numpy()] ** 2).sum()) for rows in bins])


def _selection(sampler: Sampler, place: tuple[int, ...], scored: Scored) -> Selection | None:
    """Which rows of the whole batch are trained; fresh images judge a step by all of them."""
    sampling, count = sampler.recipe.sampling, sampler.processes.count
    shares = [Processes(rank, count).share(sampling.prompts_per_step) for rank in range(count)]
    size = sampling.group_size
    parts = [slice(size * share.start, size * share.stop) for share in shares]
    even = sampler.policies.shards.sharded
    return select_rows(sampler.recipe, scored, place, parts, even=even)


def loss_settings(recipe: Recipe, micro_batch_size: int) -> LossSettings:
    """The constants of the loss, as the recipe sets them."""
    training = recipe.training
    return LossSettings(
        mix=training.mix,
        advantage_clip=training.advantage_clip,
        kl_weight=training.kl_weight,
        micro_batch_size=micro_batch_size,
    )
