"""How far the trained policy has gone from the base model, on images of its own.

The Kullback-Leibler divergence between the two models' sampling processes is an integral over noise
levels of the squared difference of their velocities, with a weight that depends on the sampler's
noise (Girsanov; MARBLE's and DiffusionNFT's regulariser is the same with an even weight). Sampling
without noise has no such divergence, so the integral with an even weight is given: the mean over
elements of (v - v_ref)^2 at x_t = (1 - t) x0 + t eps, over t from 0 to 1 and images x0 of the
trained policy.
"""

from __future__ import annotations

import numpy as np
import torch

from marblecli.engine.copies import to_device
from marblecli.maths.nft import interpolate, velocity_penalty
from marblecli.seeding import stream, torch_stream
from marblecli.train.sampler import Sampler
from marblecli.types import Rollout

MOST_IMAGES = 64
"""Of each process: two passes for each of them are a small part of an evaluation."""


@torch.no_grad()
def distance_from_base(sampler: Sampler, rollout: Rollout) -> float | None:
    """The mean squared difference of the velocities, over all processes' images of ``rollout``.

    The images are those of the trained policy. Each has one noise level; together they are evenly
    spread over all levels. Levels and noise depend on the run's seed alone. None if the weights are
    sharded, as passes would have to be made in all processes at once, or if there is no image.
    """
    if sampler.policies.shards.sharded:
        return None
    count, seed = len(rollout.prompts), sampler.recipe.run.seed
    chosen = np.unique(np.linspace(0, count - 1, min(count, MOST_IMAGES)).round().astype(int))
    order = stream(seed, "distance").permutation(len(chosen))
    levels = torch.as_tensor((order + 0.5) / max(len(chosen), 1), dtype=torch.float32)
    generator = torch_stream(seed, "distance", sampler.processes.rank)
    noise = torch.randn((len(chosen), *rollout.latents.shape[1:]), generator=generator)
    total, size = 0.0, sampler.recipe.sampling.batch_size
    for start in range(0, len(chosen), size):
        rows = slice(start, start + size)
        places = torch.as_tensor(chosen[rows])
        clean = to_device(rollout.latents[places], sampler.device)
        at = to_device(levels[rows], sampler.device)
        noised = interpolate(clean, to_device(noise[rows], sampler.device).to(clean.dtype), at)
        texts = [rollout.prompts[place].text for place in chosen[rows]]
        inputs = (noised, at, sampler.backbone.conditioning(texts))
        reference = sampler.policies.velocity("reference", *inputs)
        trained = sampler.policies.velocity("trained", *inputs)
        total += float(velocity_penalty(trained, reference))
    found = sampler.processes.gather((total, len(chosen)))
    images = sum(number for _, number in found)
    return sum(each for each, _ in found) / images if images else None
