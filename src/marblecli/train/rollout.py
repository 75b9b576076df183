"""Prompts -> images, by a deterministic ODE solver; scoring overlaps with sampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from marblecli.engine.processes import Processes
from marblecli.engine.transfer import to_device
from marblecli.models.backbone import Backbone
from marblecli.models.conditioning import Conditioning
from marblecli.models.policies import Policies, PolicyName
from marblecli.rewards.score import RewardSuite, merge
from marblecli.seeding import stream
from marblecli.types import IntArray, Prompt, RewardTable, Rollout

OnImages = Callable[[Tensor, Sequence[Prompt]], None]
"""Called with each decoded batch, float32 [B, 3, H, W] in [0, 1], and its prompts."""


@dataclass(frozen=True)
class Sampler:
    """Who samples, and how."""

    backbone: Backbone
    policies: Policies
    policy: PolicyName
    resolution: int
    steps: int
    batch_size: int
    processes: Processes = field(default_factory=Processes)
    """Among whom the prompts are divided."""


def draw_prompts(
    sources: Sequence[Sequence[Prompt]],
    per_step: int,
    step: int,
    seed: int,
    purpose: str = "prompts",
) -> tuple[Prompt, ...]:
    """The prompts of optimizer step ``step`` (from 1): equally from every source.

    Each source is walked through in a new random order every time it has been used up. The draw
    depends on nothing but its arguments, so a resumed run goes on with the same prompts.
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
    prompts: Sequence[Prompt],
    images_per_prompt: int,
    generators: Sequence[torch.Generator],
    on_images: OnImages,
) -> Rollout:
    """Sample ``images_per_prompt`` images of each prompt, all images of a prompt together.

    ``generators`` (one a prompt) give the initial noise, so that it depends neither on the batch
    size nor on the other prompts. ``on_images`` is called as soon as a batch is decoded.
    """
    shape = (images_per_prompt, *sampler.backbone.latent_shape(sampler.resolution))
    noise = torch.cat([torch.randn(shape, generator=generator) for generator in generators])
    each = tuple(prompt for prompt in prompts for _ in range(images_per_prompt))
    latents, images = [], []
    for start in range(0, len(each), sampler.batch_size):
        rows = slice(start, start + sampler.batch_size)
        conditioning = sampler.backbone.conditioning([prompt.text for prompt in each[rows]])
        clean = integrate(sampler, noise[rows], conditioning)
        decoded = sampler.backbone.decode(clean).cpu()
        on_images(decoded, each[rows])
        latents.append(clean)
        images.append(decoded)
    groups = group_numbers(len(prompts), images_per_prompt)
    return Rollout(each, groups, torch.cat(latents), torch.cat(images))


def group_numbers(prompts: int, images_per_prompt: int) -> IntArray:
    """[prompts * images_per_prompt], the group of each image: all of a prompt stand together."""
    return np.repeat(np.arange(prompts), images_per_prompt)


def sample_and_score(
    sampler: Sampler,
    suite: RewardSuite,
    prompts: Sequence[Prompt],
    images_per_prompt: int,
    generators: Sequence[torch.Generator],
) -> tuple[Rollout, RewardTable]:
    """Sample this process's share of the prompts; score each batch while the next is sampled.

    The rollout has the share's images; the table has all processes' in the order of the prompts.
    """
    share = sampler.processes.share(len(prompts))
    pending: list[Future[RewardTable]] = []

    def hand_over(images: Tensor, batch: Sequence[Prompt]) -> None:
        pending.append(suite.submit(images, batch))

    if prompts[share]:
        mine = (prompts[share], images_per_prompt, generators[share])
        rollout = sample(sampler, *mine, hand_over)
    else:
        rollout = _nothing(sampler)
    _keep_pace(sampler, prompts, images_per_prompt)
    tables = [future.result() for future in pending]
    table = merge(tables) if tables else _empty_table(suite)
    return rollout, merge(sampler.processes.gather(table))


def _nothing(sampler: Sampler) -> Rollout:
    """Of a process for which there was no prompt."""
    latents = torch.empty(0, *sampler.backbone.latent_shape(sampler.resolution))
    images = torch.empty(0, 3, sampler.resolution, sampler.resolution)
    return Rollout((), group_numbers(0, 1), latents, images)


def _empty_table(suite: RewardSuite) -> RewardTable:
    applies = suite.applies(())
    return RewardTable(suite.names, applies.astype(np.float64), applies)


def _keep_pace(sampler: Sampler, prompts: Sequence[Prompt], images_per_prompt: int) -> None:
    """Where weights are divided, make the passes that other processes have more of, for nothing.

    They wait in each of theirs for this process's rows.
    """
    if not sampler.policies.shards.divided:
        return
    processes = sampler.processes
    share = processes.share(len(prompts))
    most, mine = -(-len(prompts) // processes.count), share.stop - share.start
    batches = [-(-each * images_per_prompt // sampler.batch_size) for each in (most, mine)]
    noise = torch.zeros(1, *sampler.backbone.latent_shape(sampler.resolution))
    conditioning = sampler.backbone.conditioning([prompts[0].text])
    for _ in range(batches[0] - batches[1]):
        integrate(sampler, noise, conditioning)


@torch.no_grad()
def integrate(sampler: Sampler, noise: Tensor, conditioning: Conditioning) -> Tensor:
    """Noise [B, C, h, w] -> clean latents of the same shape, without guidance."""
    device = sampler.backbone.device
    solver = sampler.backbone.solver(sampler.steps, noise.shape[1:])
    latents = to_device(noise, device)
    # Copied once: one number at a time would make every step wait for the device.
    levels = to_device(solver.levels, device)
    for level in levels[:-1]:
        noise_level = level.expand(len(latents))
        velocity = sampler.policies.velocity(sampler.policy, latents, noise_level, conditioning)
        latents = solver.step(velocity, latents)
    return latents
