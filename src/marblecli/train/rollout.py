"""Sample images of prompts by a deterministic ODE solver, and score them meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from marblecli.engine.copies import to_device
from marblecli.models.backbone import Backbone
from marblecli.models.conditioning import Conditioning
from marblecli.models.policies import Policies, PolicyName
from marblecli.rewards.score import merge
from marblecli.seeding import stream
from marblecli.train.sampler import Sampler
from marblecli.types import IntArray, Prompt, RewardTable, Rollout

OnImages = Callable[[Tensor, Sequence[Prompt]], None]
"""Called with each decoded batch, float32 [B, 3, H, W] in [0, 1], and its prompts."""


@dataclass(frozen=True)
class Sampling:
    """Which policy samples, and by how many evaluations of its network for each image."""

    policy: PolicyName
    steps: int
    rewards: tuple[str, ...] | None = None
    """The rewards that score the images; None for all that are loaded."""


def draw_prompts(
    sources: Sequence[Sequence[Prompt]],
    per_step: int,
    step: int,
    seed: int,
    purpose: str = "prompts",
) -> tuple[Prompt, ...]:
    """The prompts of optimizer step ``step`` (from 1): ``per_step``, from all sources in turn.

    All prompts of a source are used before one is used again, each time in a new random order. The
    draw depends only on the arguments, so a resumed run draws the same prompts.
    """
    chosen = []
    for slot in range((step - 1) * per_step, step * per_step):
        index, turn = slot % len(sources), slot // len(sources)
        prompts = sources[index]
        epoch, place = divmod(turn, len(prompts))
        order = stream(seed, purpose, index, epoch).permutation(len(prompts))
        chosen.append(prompts[order[place]])
    return tuple(chosen)


def sample(
    sampler: Sampler,
    sampling: Sampling,
    prompts: Sequence[Prompt],
    images_per_prompt: int,
    generators: Sequence[torch.Generator],
    on_images: OnImages,
) -> Rollout:
    """Sample ``images_per_prompt`` images of each prompt; the images of a prompt are consecutive.

    ``generators``, one for each prompt, draw the initial noise, so that it depends neither on the
    batch size nor on the other prompts. ``on_images`` is called as soon as a batch is decoded.
    """
    shape = (images_per_prompt, *_latent_shape(sampler))
    noise = torch.cat([torch.randn(shape, generator=generator) for generator in generators])
    each = tuple(prompt for prompt in prompts for _ in range(images_per_prompt))
    latents, images = [], []
    size = sampler.recipe.sampling.batch_size
    for start in range(0, len(each), size):
        rows = slice(start, start + size)
        conditioning = sampler.backbone.conditioning([prompt.text for prompt in each[rows]])
        clean = integrate(sampler.backbone, sampler.policies, sampling, noise[rows], conditioning)
        decoded = sampler.backbone.decode(clean).cpu()
        on_images(decoded, each[rows])
        latents.append(clean)
        images.append(decoded)
    groups = group_numbers(len(prompts), images_per_prompt)
    return Rollout(each, groups, torch.cat(latents), torch.cat(images))


def group_numbers(prompts: int, images_per_prompt: int) -> IntArray:
    """[prompts * images_per_prompt], the group of each image; those of a prompt are consecutive."""
    return np.repeat(np.arange(prompts), images_per_prompt)


def sample_and_score(
    sampler: Sampler,
    sampling: Sampling,
    prompts: Sequence[Prompt],
    images_per_prompt: int,
    generators: Sequence[torch.Generator],
) -> tuple[Rollout, RewardTable]:
    """Sample this process's share of the prompts, and score each batch while the next is sampled.

    The rollout has the images of this process. The table has the rewards of all processes' images,
    in the order of the prompts.
    """
    share = sampler.processes.share(len(prompts))
    pending: list[Future[RewardTable]] = []

    def hand_over(images: Tensor, batch: Sequence[Prompt]) -> None:
        pending.append(sampler.suite.submit(images, batch, sampling.rewards))

    if prompts[share]:
        mine = (prompts[share], images_per_prompt, generators[share])
        rollout = sample(sampler, sampling, *mine, hand_over)
    else:
        rollout = _empty_rollout(sampler)
    _keep_pace(sampler, sampling, prompts, images_per_prompt)
    tables = [future.result() for future in pending]
    table = merge(tables) if tables else sampler.suite.empty(sampling.rewards)
    return rollout, merge(sampler.processes.gather(table))


def _latent_shape(sampler: Sampler) -> tuple[int, int, int]:
    return sampler.backbone.latent_shape(sampler.recipe.sampling.resolution)


def _empty_rollout(sampler: Sampler) -> Rollout:
    """The rollout of a process that has no prompt."""
    side = sampler.recipe.sampling.resolution
    latents = torch.empty(0, *_latent_shape(sampler))
    return Rollout((), group_numbers(0, 1), latents, torch.empty(0, 3, side, side))


def _keep_pace(
    sampler: Sampler, sampling: Sampling, prompts: Sequence[Prompt], images_per_prompt: int
) -> None:
    """With sharded weights, make as many passes as the process with the most prompts.

    In each of its passes, that process needs this process's rows. The results of the additional
    passes aren't used.
    """
    if not sampler.policies.shards.sharded:
        return
    processes, size = sampler.processes, sampler.recipe.sampling.batch_size
    share = processes.share(len(prompts))
    most, mine = -(-len(prompts) // processes.count), share.stop - share.start
    batches = [-(-each * images_per_prompt // size) for each in (most, mine)]
    noise = torch.zeros(1, *_latent_shape(sampler))
    conditioning = sampler.backbone.conditioning([prompts[0].text])
    for _ in range(batches[0] - batches[1]):
        integrate(sampler.backbone, sampler.policies, sampling, noise, conditioning)


@torch.no_grad()
def integrate(
    backbone: Backbone,
    policies: Policies,
    sampling: Sampling,
    noise: Tensor,
    conditioning: Conditioning,
) -> Tensor:
    """Sample clean latents [B, C, h, w] from ``noise`` of the same shape, without guidance."""
    device = backbone.device
    solver = backbone.solver(sampling.steps, noise.shape[1:])
    latents = to_device(noise, device)
    # All levels are copied at once: copying them one by one would make each step wait.
    levels = to_device(solver.levels, device)
    for level in levels[:-1]:
        velocity = policies.velocity(
            sampling.policy, latents, level.expand(len(latents)), conditioning
        )
        latents = solver.step(velocity, latents)
    return latents
