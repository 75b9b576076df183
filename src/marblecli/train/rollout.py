"""Sample images of prompts by a deterministic ODE solver, and score them meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from marblecli import progress
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


_GLANCE = 0.2
"""Seconds between two looks at whether the user wants to stop, while rewards are waited for."""


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance (Ho and Salimans 2022): v = v_negative + scale (v - v_negative).

    It takes two evaluations of the network for each step. The negative prompt must be embedded.
    """

    scale: float
    """1 gives what sampling without guidance gives, at twice the cost."""
    negative: str = ""


@dataclass(frozen=True)
class Sampling:
    """Which policy samples, and in how many steps of the solver for each image."""

    policy: PolicyName
    steps: int
    guidance: Guidance | None = None
    """None evaluates the network once a step, as training and evaluations do."""
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
    texts = [prompt.text for prompt in each]
    for rows, clean, decoded in sampled_batches(sampler, sampling, texts, noise):
        on_images(decoded, each[rows])
        latents.append(clean)
        images.append(decoded)
    groups = group_numbers(len(prompts), images_per_prompt)
    return Rollout(each, groups, torch.cat(latents), torch.cat(images))


def sampled_batches(
    sampler: Sampler, sampling: Sampling, texts: Sequence[str], noise: Tensor
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Sample one image of each text, a batch at a time, from ``noise`` [N, C, h, w] on the CPU.

    Yields the batch's rows, its clean latents [B, C, h, w], and its images, float32 [B, 3, H, W] in
    [0, 1] on the CPU.
    """
    size = sampler.recipe.sampling.batch_size
    with progress.work("sampling", len(texts), "images") as advance:
        for start in range(0, len(texts), size):
            rows = slice(start, start + size)
            conditioning = sampler.backbone.conditioning(texts[rows])
            mine = (sampling, noise[rows], conditioning)
            clean = integrate(sampler.backbone, sampler.policies, *mine)
            decoded = sampler.backbone.decode(clean).cpu()
            yield rows, clean, decoded
            advance(len(decoded))


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
    in the order of the prompts. Raises StopRequestedError after a batch if the user wants to stop.
    """
    share = sampler.processes.share(len(prompts))
    pending: list[Future[RewardTable]] = []

    def hand_over(images: Tensor, batch: Sequence[Prompt]) -> None:
        pending.append(sampler.suite.submit(images, batch, sampling.rewards))
        progress.check(sampler.processes.agree)

    if prompts[share]:
        mine = (prompts[share], images_per_prompt, generators[share])
        rollout = sample(sampler, sampling, *mine, hand_over)
    else:
        rollout = _empty_rollout(sampler)
    _keep_pace(sampler, sampling, prompts, images_per_prompt)
    tables = _scored(pending, len(rollout.prompts))
    table = merge(tables) if tables else sampler.suite.empty(sampling.rewards)
    return rollout, merge(sampler.processes.gather(table))


def _scored(pending: Sequence[Future[RewardTable]], images: int) -> list[RewardTable]:
    """Wait for the rewards of ``images`` images, which were handed over in batches."""
    tables = []
    with progress.work("scoring", images, "images") as advance:
        for future in pending:
            while not wait([future], _GLANCE).done:
                progress.check_alone()
            tables.append(future.result())
            advance(len(tables[-1].values))
    return tables


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
    """Agree on stopping as often as the process with the most prompts does.

    With sharded weights, also make as many passes: in each of its passes, that process needs this
    process's rows. The results of the additional passes aren't used.
    """
    processes, size = sampler.processes, sampler.recipe.sampling.batch_size
    share = processes.share(len(prompts))
    most, mine = -(-len(prompts) // processes.count), share.stop - share.start
    batches = [-(-each * images_per_prompt // size) for each in (most, mine)]
    noise = torch.zeros(1, *_latent_shape(sampler))
    for _ in range(batches[0] - batches[1]):
        if sampler.policies.shards.sharded:
            conditioning = sampler.backbone.conditioning([prompts[0].text])
            integrate(sampler.backbone, sampler.policies, sampling, noise, conditioning)
        progress.check(processes.agree)


@torch.no_grad()
def integrate(
    backbone: Backbone,
    policies: Policies,
    sampling: Sampling,
    noise: Tensor,
    conditioning: Conditioning,
) -> Tensor:
    """Sample clean latents [B, C, h, w] from ``noise`` of the same shape.

    Raises StopRequestedError between two steps if the user wants to stop a single process.
    """
    device = backbone.device
    solver = backbone.solver(sampling.steps, noise.shape[1:])
    latents = to_device(noise, device)
    # All levels are copied at once: copying them one by one would make each step wait.
    levels = to_device(solver.levels, device)
    negative = _negative(backbone, sampling, len(latents))
    for level in levels[:-1]:
        progress.check_alone()
        velocity = _velocity(policies, sampling, (latents, level), conditioning, negative)
        latents = solver.step(velocity, latents)
    return latents


def _negative(backbone: Backbone, sampling: Sampling, count: int) -> Conditioning | None:
    """The negative prompt's conditioning of ``count`` images; None without guidance."""
    if sampling.guidance is None:
        return None
    return backbone.conditioning([sampling.guidance.negative] * count)


def _velocity(
    policies: Policies,
    sampling: Sampling,
    at: tuple[Tensor, Tensor],
    conditioning: Conditioning,
    negative: Conditioning | None,
) -> Tensor:
    """The policy's velocity [B, C, h, w] ``at`` (latents [B, C, h, w], noise level)."""
    latents, level = at
    levels = level.expand(len(latents))
    velocity = policies.velocity(sampling.policy, latents, levels, conditioning)
    if sampling.guidance is None or negative is None:
        return velocity
    away = policies.velocity(sampling.policy, latents, levels, negative)
    return away + sampling.guidance.scale * (velocity - away)
