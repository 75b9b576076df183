"""Prompts -> images -> rewards -> advantages: the batch of one optimizer step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from marblecli.maths.advantages import advantages, optimality_probability
from marblecli.maths.nft import reward_shares
from marblecli.settings import Recipe
from marblecli.train.batch import LossSettings, TrainingBatch, row_slices, split_halves
from marblecli.train.rollout import draw_prompts, sample_and_score
from marblecli.train.seeding import stream, torch_stream
from marblecli.train.session import Session
from marblecli.types import RewardTable, Rollout

Purpose = Literal["rollout", "fresh"]
"""What the images are for: to train on, or to judge a step that was made without them."""


@dataclass(frozen=True)
class Collected:
    """Images of the old policy and what the rewards say of them."""

    rollout: Rollout
    table: RewardTable
    purpose: Purpose


def collect(session: Session, step: int, purpose: Purpose = "rollout") -> Collected:
    """Sample and score the images of optimizer step ``step`` (from 1)."""
    recipe = session.recipe
    sampling, seed = recipe.sampling, recipe.run.seed
    drawn_for = "prompts" if purpose == "rollout" else "fresh-prompts"
    prompts = draw_prompts(session.prompts.train, sampling.prompts_per_step, step, seed, drawn_for)
    generators = [torch_stream(seed, purpose, step, index) for index in range(len(prompts))]
    sampler = session.sampler("old", sampling.steps)
    scored = sample_and_score(sampler, session.suite, prompts, sampling.group_size, generators)
    return Collected(*scored, purpose)


def training_batch(session: Session, step: int, collected: Collected) -> TrainingBatch:
    """Advantages by reward, noise levels, halves and, at the recipe's cadence, slices."""
    recipe, rollout, table = session.recipe, collected.rollout, collected.table
    device = session.accelerator.device
    scaled = advantages(table.values, table.valid, rollout.groups, recipe.training.advantage_scale)
    optimality = optimality_probability(scaled, recipe.training.advantage_clip)
    valid = torch.from_numpy(table.valid).float()
    sources = [prompt.source for prompt in rollout.prompts]
    place = (step,) if collected.purpose == "rollout" else (step, 1)
    noise_levels = _noise_levels(session, len(rollout.prompts), place).to(device)
    every = recipe.measure.slices_every
    sliced = every > 0 and step % every == 0 and collected.purpose == "rollout"
    return TrainingBatch(
        latents=rollout.latents.float(),
        conditioning=session.backbone.conditioning([p.text for p in rollout.prompts]),
        noise_levels=noise_levels,
        advantages=torch.from_numpy(scaled).float().to(device),
        optimality=torch.from_numpy(optimality).float().to(device),
        shares=reward_shares(valid, valid.sum(0)).to(device),
        halves=torch.from_numpy(split_halves(sources, rollout.groups)).to(device),
        noise_seed=(recipe.run.seed, *place),
        slices=row_slices(sources, noise_levels) if sliced else {},
    )


def _noise_levels(session: Session, images: int, place: tuple[int, ...]) -> Tensor:
    """[images, noise_levels], drawn for each image without replacement from the sampler's grid."""
    recipe = session.recipe
    grid = session.backbone.sampler(recipe.sampling.steps).sigmas[:-1]
    rng = stream(recipe.run.seed, "noise-levels", *place)
    count = recipe.training.noise_levels
    chosen = rng.permuted(np.tile(np.arange(len(grid)), (images, 1)), axis=1)[:, :count]
    return grid[torch.from_numpy(chosen)].float()


def loss_settings(recipe: Recipe) -> LossSettings:
    """The constants of the loss, as the recipe sets them."""
    training = recipe.training
    return LossSettings(
        mix=training.mix,
        advantage_clip=training.advantage_clip,
        kl_weight=training.kl_weight,
        micro_batch_size=training.micro_batch_size,
    )
