"""An optimizer step with the published geometry and choices, rebuilt for comparisons.

Frozen weights are in float32, under autocast. Text encoders stay on the device, and run on every
batch, once for each copy of a prompt. For each image and noise level, the old, the reference and
the trained policy run forward, and there is one backward pass. The process waits for the device at
every micro-batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import StableDiffusion3Pipeline
from torch import Tensor

from marblecli.maths.advantages import advantages, optimality_probability
from marblecli.maths.nft import (
    LossRows,
    affine_weights,
    branch_losses,
    combined_loss,
    interpolate,
    reward_shares,
    velocity_penalty,
)
from marblecli.models.backbone import Backbone
from marblecli.models.conditioning import Conditioning, joined
from marblecli.models.lora_policies import LoraPolicies
from marblecli.models.sd3.family import SD3
from marblecli.models.sd3.frozen import SD3Frozen
from marblecli.planning.plan import images_of_a_step
from marblecli.rewards.score import RewardSuite, merge
from marblecli.settings import Recipe
from marblecli.train.rollout import Sampling, integrate
from marblecli.types import Prompt, RewardTable

_Rows = tuple[Tensor, Tensor, Conditioning, Tensor, Tensor]
"""Latents, noise levels, conditioning, optimality r and shares m / n of one micro-batch."""


@dataclass(frozen=True)
class Published:
    """What a step needs."""

    recipe: Recipe
    pipeline: StableDiffusion3Pipeline
    policies: LoraPolicies
    optimizer: torch.optim.Optimizer
    suite: RewardSuite
    micro_batch_size: int

    @property
    def device(self) -> torch.device:
        return self.pipeline.transformer.device


def make_published(
    recipe: Recipe,
    pipeline: StableDiffusion3Pipeline,
    autocast: torch.dtype,
    suite: RewardSuite,
    micro_batch_size: int,
) -> Published:
    """Take over a pipeline whose weights are in float32 and on the device, text encoders too."""
    pipeline.transformer.requires_grad_(False)
    pipeline.vae.requires_grad_(False)
    policies = LoraPolicies(SD3, pipeline.transformer, recipe.model.lora, autocast)
    optimizer = torch.optim.AdamW(policies.trained_parameters().values(), lr=1e-4)
    return Published(recipe, pipeline, policies, optimizer, suite, micro_batch_size)


def published_step(run: Published, prompts: list[Prompt]) -> None:
    """Sample and score images of the ``prompts``, and train on each at all of its noise levels."""
    latents, conditioning, table = collect(run, prompts)
    groups = np.repeat(np.arange(len(prompts)), run.recipe.sampling.group_size)
    scaled = advantages(table.values, table.valid, groups, "batch")
    clip = run.recipe.training.advantage_clip
    optimality = torch.from_numpy(optimality_probability(scaled, clip)).float().to(run.device)
    valid = torch.from_numpy(table.valid).float()
    shares = reward_shares(valid, valid.sum(0)).to(run.device)
    for number in range(run.recipe.training.noise_levels):
        level = torch.full((len(latents),), (number + 0.5) / run.recipe.training.noise_levels)
        for rows in torch.arange(len(latents)).split(run.micro_batch_size):
            train_rows(
                run,
                (
                    latents[rows],
                    level[rows].to(run.device),
                    conditioning[rows],
                    optimality[rows],
                    shares[rows],
                ),
            )
    parameters = list(run.policies.trained_parameters().values())
    torch.nn.utils.clip_grad_norm_(parameters, run.recipe.training.max_grad_norm)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)


def collect(run: Published, prompts: list[Prompt]) -> tuple[Tensor, Conditioning, RewardTable]:
    """The old policy's images, as latents and conditioning, and their rewards."""
    sampling = run.recipe.sampling
    backbone = Backbone(SD3Frozen(run.pipeline, run.recipe.model))
    old = Sampling("old", sampling.steps)
    each = [prompt for prompt in prompts for _ in range(sampling.group_size)]
    latents, embedded, pending = [], [], []
    for start in range(0, len(each), sampling.batch_size):
        batch = each[start : start + sampling.batch_size]
        # All copies of a prompt are encoded, in every batch.
        conditioning = backbone.encode([prompt.text for prompt in batch])
        noise = torch.randn(len(batch), *backbone.latent_shape(sampling.resolution))
        clean = integrate(backbone, run.policies, old, noise, conditioning)
        pending.append(run.suite.submit(backbone.decode(clean).cpu(), batch))
        latents.append(clean)
        embedded.append(conditioning)
    return torch.cat(latents), joined(embedded), scores(pending)


def scores(pending: Sequence[Future[RewardTable]]) -> RewardTable:
    """Wait for all rewards, and join their tables."""
    return merge([future.result() for future in pending])


def train_rows(run: Published, rows: _Rows) -> float:
    """Make three forward passes and one backward pass. Returns the loss, and waits for it."""
    latents, level, conditioning, optimality, shares = rows
    training = run.recipe.training
    noised = interpolate(latents, torch.randn_like(latents), level)
    inputs = (noised, level, conditioning)
    old = run.policies.velocity("old", *inputs)
    reference = run.policies.velocity("reference", *inputs)
    velocity = run.policies.velocity("trained", *inputs)
    branches = branch_losses(velocity, old, noised, latents, LossRows(level, training.mix))
    weights = torch.full((shares.shape[1],), 1.0 / shares.shape[1], device=run.device)
    positive, negative = affine_weights(optimality, shares, weights)
    scale = training.advantage_clip / training.mix / training.noise_levels
    loss = combined_loss(branches, positive, negative, scale)
    weight = training.kl_weight / (images_of_a_step(run.recipe) * training.noise_levels)
    loss = loss + weight * velocity_penalty(velocity, reference)
    backward(loss)
    return loss.item()


def backward(loss: Tensor) -> None:
    """Add the gradient of ``loss`` to ``.grad``; a function of its own, so that it can be timed."""
    loss.backward()
