"""Prompts -> images -> rewards -> advantages: the batch of one optimizer step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from marblecli.engine.transfer import to_device
from marblecli.maths.advantages import advantages, optimality_probability
from marblecli.maths.nft import reward_shares
from marblecli.seeding import stream, torch_stream
from marblecli.settings import Recipe
from marblecli.train.batch import LossSettings, TrainingBatch, row_slices, split_halves
from marblecli.train.rollout import draw_prompts, group_numbers, sample_and_score
from marblecli.train.session import Session
from marblecli.types import IntArray, RewardTable, Rollout

Purpose = Literal["rollout", "fresh"]
"""What the images are for: to train on, or to judge a step that was made without them."""


@dataclass(frozen=True)
class Collected:
    """Images of the old policy and what the rewards say of them; N counts all processes' images."""

    rollout: Rollout
    """This process's images."""
    table: RewardTable
    """Of all images."""
    sources: tuple[str, ...]
    """N, the prompt source of each image."""
    groups: IntArray
    """[N], the group of each image."""
    start: int
    """The place of this process's first image."""
    purpose: Purpose


def collect(session: Session, step: int, purpose: Purpose = "rollout") -> Collected:
    """Sample and score the images of optimizer step ``step`` (from 1)."""
    recipe = session.recipe
    sampling, seed = recipe.sampling, recipe.run.seed
    drawn_for = "prompts" if purpose == "rollout" else "fresh-prompts"
    prompts = draw_prompts(session.prompts.train, sampling.prompts_per_step, step, seed, drawn_for)
    generators = [torch_stream(seed, purpose, step, index) for index in range(len(prompts))]
    sampler = session.sampler("old", sampling.steps)
    count = sampling.group_size
    rollout, table = sample_and_score(sampler, session.suite, prompts, count, generators)
    return Collected(
        rollout=rollout,
        table=table,
        sources=tuple(prompt.source for prompt in prompts for _ in range(count)),
        groups=group_numbers(len(prompts), count),
        start=count * session.processes.share(len(prompts)).start,
        purpose=purpose,
    )


def training_batch(session: Session, step: int, collected: Collected) -> TrainingBatch:
    """Advantages by reward, noise levels, halves and, at the recipe's cadence, slices.

    All are drawn and computed for the whole batch; what is returned is this process's part.
    """
    recipe, rollout, table = session.recipe, collected.rollout, collected.table
    device = session.accelerator.device
    groups, sources = collected.groups, collected.sources
    scaled = advantages(table.values, table.valid, groups, recipe.training.advantage_scale)
    optimality = optimality_probability(scaled, recipe.training.advantage_clip)
    valid = torch.from_numpy(table.valid).float()
    place = (step,) if collected.purpose == "rollout" else (step, 1)
    noise_levels = to_device(_noise_levels(session, len(groups), place), device)
    mine = slice(collected.start, collected.start + len(rollout.prompts))
    every = recipe.measure.slices_every
    due = every > 0 and step % every == 0 and recipe.measure.parts
    sliced = due and collected.purpose == "rollout"
    slices = row_slices(sources, noise_levels) if sliced else {}
    return TrainingBatch(
        latents=rollout.latents.float(),
        conditioning=session.backbone.conditioning([p.text for p in rollout.prompts]),
        noise_levels=noise_levels[mine],
        advantages=to_device(torch.from_numpy(scaled[mine]).float(), device),
        optimality=to_device(torch.from_numpy(optimality[mine]).float(), device),
        shares=to_device(reward_shares(valid, valid.sum(0))[mine], device),
        halves=to_device(torch.from_numpy(split_halves(sources, groups)[mine]), device),
        noise_seed=(recipe.run.seed, *place),
        slices={name: rows[mine] for name, rows in slices.items()},
        start=collected.start,
        elsewhere=len(groups) - len(rollout.prompts),
    )


def _noise_levels(session: Session, images: int, place: tuple[int, ...]) -> Tensor:
    """[images, noise_levels], drawn for each image without replacement from the sampler's grid."""
    recipe = session.recipe
    sampling = recipe.sampling
    shape = session.backbone.latent_shape(sampling.resolution)
    grid = session.backbone.solver(sampling.steps, shape).levels[:-1]
    rng = stream(recipe.run.seed, "noise-levels", *place)
    count = recipe.training.noise_levels
    chosen = rng.permuted(np.tile(np.arange(len(grid)), (images, 1)), axis=1)[:, :count]
    return grid[torch.from_numpy(chosen)].float()


def loss_settings(recipe: Recipe, micro_batch_size: int) -> LossSettings:
    """The constants of the loss, as the recipe sets them."""
    training = recipe.training
    return LossSettings(
        mix=training.mix,
        advantage_clip=training.advantage_clip,
        kl_weight=training.kl_weight,
        micro_batch_size=micro_batch_size,
    )
