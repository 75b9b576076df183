"""The sizes that are measured: SD3.5 Medium's on a GPU, or tiny ones to rehearse on a CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from small_models import LARGER, TINY


@dataclass(frozen=True)
class Geometry:
    """How many images a step has, and how they are sampled and trained."""

    prompts: int
    sampler_steps: int
    noise_levels: int


@dataclass(frozen=True)
class Sizes:
    """What all parts are measured at."""

    rehearsal: bool
    model: str
    resolution: int
    dtype: Literal["fp32", "bf16"]
    group_size: int
    """Images of each prompt."""
    micro_batch_size: int
    published: Geometry
    """Half as many images as the others: each of them takes five times as long."""
    ours: Geometry
    short: Geometry
    """Of full mode, whose weights go to the CPU and back whatever the number of images."""
    rewards: int
    tower: str
    """Of the rewards on the card."""
    capped_towers: str
    """Of the rewards under the cap: on the card 10.4 GiB, beside five_rewards.toml's 10.8."""
    cap: float
    """GiB that torch's allocator may have on a card of 24 GB, of which CUDA itself takes one."""
    updates: tuple[int, int, int]
    """Images, noise levels and micro-batch size of the updates of a frozen batch."""
    compared: tuple[int, int, int]
    """The same of the gradients that are compared: few, as products in float32 are slow."""
    rank: int
    compiler: str
    """Of torch.compile; a rehearsal only traces."""
    rounds: int


ON_A_GPU = Sizes(
    rehearsal=False,
    model=LARGER,
    resolution=512,
    dtype="bf16",
    group_size=9,
    micro_batch_size=9,
    published=Geometry(prompts=2, sampler_steps=25, noise_levels=24),
    ours=Geometry(prompts=4, sampler_steps=10, noise_levels=4),
    short=Geometry(prompts=2, sampler_steps=4, noise_levels=2),
    rewards=5,
    tower="vit-l",
    capped_towers="vit-g,vit-g,vit-g,small,small",
    cap=23.0,
    updates=(9, 4, 9),
    compared=(4, 2, 4),
    rank=32,
    compiler="inductor",
    rounds=2,
)

REHEARSAL = Sizes(
    rehearsal=True,
    model=TINY,
    resolution=32,
    dtype="fp32",
    group_size=2,
    micro_batch_size=2,
    published=Geometry(prompts=1, sampler_steps=3, noise_levels=3),
    ours=Geometry(prompts=2, sampler_steps=2, noise_levels=2),
    short=Geometry(prompts=2, sampler_steps=2, noise_levels=2),
    rewards=2,
    tower="tiny",
    capped_towers="tiny,none",
    cap=23.0,
    updates=(2, 2, 2),
    compared=(2, 2, 2),
    rank=2,
    compiler="eager",
    rounds=1,
)
