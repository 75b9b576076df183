"""Whole steps: as published, ours, with one reward, under a cap, and in full mode."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from device_memory import DeviceMemory, cap, total_memory
from gpu_check.planned import (
    count_plan,
    fits,
    operations_of_a_step,
    plan_figures,
    reward_weights,
)
from gpu_check.results import Note
from gpu_check.sizes import Geometry, Sizes
from marblecli.errors import MarbleError
from marblecli.models.backbone import Backbone
from marblecli.planning.plan import MemoryPlan
from marblecli.planning.speed import measured_speed
from step_stages import peaks_by_phase, split_step
from stopwatch import Stopwatch, now
from whole_steps import (
    StepOptions,
    Stepper,
    make_recipe,
    open_marble,
    open_published,
    stepper,
)

OUR_LEVELS = {"training.levels.draw": "uniform", "training.levels.low": 0.8}
"""The recipes' noise levels; the published ones are the sampler's."""
_FULL = {"model.mode": "full", "training.learning_rate": 1e-5}
_WARM_UP = 2
"""Steps: the second one is the first in which the old policy isn't the trained one."""
_SPEED_SECONDS = {"cuda": 1.0, "cpu": 0.1}


def published(sizes: Sizes, note: Note) -> None:
    """The published geometry and choices, rebuilt."""
    options = _options(sizes, sizes.published, pull_share=1.0)
    memory = DeviceMemory()
    with tempfile.TemporaryDirectory() as scratch:
        made = open_published(options, Path(scratch))
        _measure(made, memory, options, 1, note)


def published_geometry(sizes: Sizes, note: Note) -> None:
    """The published geometry with our choices."""
    _ours(_options(sizes, sizes.published), sizes.rewards, 1, note, counted=True)


def ours(sizes: Sizes, note: Note) -> None:
    """The recipes' geometry, with all rewards."""
    options = _options(sizes, sizes.ours, changes=OUR_LEVELS)
    _ours(options, sizes.rewards, sizes.rounds, note, counted=True)


def one_reward(sizes: Sizes, note: Note) -> None:
    """The recipes' geometry with a single reward."""
    _ours(_options(sizes, sizes.ours, changes=OUR_LEVELS), 1, sizes.rounds, note)


def capped(sizes: Sizes, note: Note) -> None:
    """The recipe for 24 GB with no more memory than such a card has."""
    cap(sizes.cap)
    options = replace(
        _options(sizes, sizes.ours, changes=OUR_LEVELS),
        tower=sizes.capped_towers,
        gradient_checkpointing=True,
        offload_rewards=True,
    )
    note({"cap": sizes.cap * 2**30})
    _ours(options, sizes.rewards, sizes.rounds, note)


def full(sizes: Sizes, note: Note) -> None:
    """All weights train, with what fits the card by the plan."""
    options = _full_options(sizes, sizes.group_size)
    _first_that_fits(options, _variants(sizes.rewards), note)


def offload(sizes: Sizes, note: Note) -> None:
    """All weights train, and are in the CPU's memory while they don't run."""
    options = _full_options(sizes, sizes.short.prompts * sizes.group_size)
    changes = {**options.changes, "model.offload": True}
    variants = [(count, {}) for count in dict.fromkeys((sizes.rewards, 2, 1))]
    _first_that_fits(replace(options, changes=changes), variants, note)


def _full_options(sizes: Sizes, micro_batch_size: int) -> StepOptions:
    options = _options(sizes, sizes.short, changes={**OUR_LEVELS, **_FULL})
    return replace(
        options, micro_batch_size=micro_batch_size, tower="none", gradient_checkpointing=True
    )


def _variants(rewards: int) -> list[tuple[int, dict[str, Any]]]:
    """Rewards and changes to the recipe, from the whole recipe to what takes the least."""
    small = {"training.optimizer": "adamw-8bit"}
    away = {"training.ema_on_cpu": True}
    pairs = [
        (count, changes)
        for count, more in ((rewards, {}), (2, away), (1, away))
        for changes in ({**small, **more}, more)
    ]
    # bitsandbytes is only asked for where it is and has a device to run on.
    known = torch.cuda.is_available() and find_spec("bitsandbytes") is not None
    return [pair for pair in pairs if known or "training.optimizer" not in pair[1]]


def _first_that_fits(
    options: StepOptions, variants: Sequence[tuple[int, Mapping[str, Any]]], note: Note
) -> None:
    plans: list[MemoryPlan] = []
    for rewards, changes in variants:
        one = replace(options, changes={**options.changes, **changes})
        with tempfile.TemporaryDirectory() as scratch:
            plans.append(count_plan(make_recipe(one, Path(scratch), rewards), {}))
        if fits(plans[-1]):
            note({"changes": dict(changes), "plan": plan_figures(plans[-1])})
            _ours(one, rewards, 1, note)
            return
    least = min(plan.total(plan.peak) for plan in plans) / 2**30
    away = min(plan.cpu_peak for plan in plans) / 2**30
    raise MarbleError(
        f"nothing fits this machine: at the least {least:.1f} GiB of the card and {away:.1f} GiB "
        "of the CPU's memory are needed by the plan"
    )


def _options(
    sizes: Sizes,
    geometry: Geometry,
    *,
    pull_share: float = 0.25,
    changes: Mapping[str, Any] | None = None,
) -> StepOptions:
    return StepOptions(
        model=sizes.model,
        resolution=sizes.resolution,
        prompts=geometry.prompts,
        group_size=sizes.group_size,
        noise_levels=geometry.noise_levels,
        micro_batch_size=sizes.micro_batch_size,
        sampler_steps=geometry.sampler_steps,
        pull_share=pull_share,
        rewards=sizes.rewards,
        tower=sizes.tower,
        dtype=sizes.dtype,
        compile=False,
        gradient_checkpointing=False,
        changes=changes or {},
    )


def _ours(
    options: StepOptions, rewards: int, rounds: int, note: Note, *, counted: bool = False
) -> None:
    """Open it, measure its steps, and count its plan; with ``counted`` also its operations."""
    memory = DeviceMemory()
    watch = Stopwatch(memory)
    with tempfile.TemporaryDirectory() as scratch:
        begun = now()
        with watch.watching((Backbone, "embed", "prompts")), watch.fresh():
            trainer = open_marble(options, Path(scratch), rewards)
        # Beside the prompts, the model is made on the CPU.
        opening = {"prompts": watch.peaks["prompts"]}
        note(
            {
                "open_seconds": now() - begun,
                "peaks": opening,
            }
        )
        with trainer.sampler.suite:
            mine = replace(options, rewards=rewards)
            _measure(stepper(trainer), memory, mine, rounds, note, opening)
        note({"micro_batch_size": trainer.sampler.micro_batch.size})
        recipe, device = trainer.sampler.recipe, trainer.sampler.device
        weights = reward_weights(options, rewards, device.type)
        note({"plan": plan_figures(count_plan(recipe, weights))})
        if counted:
            speed = measured_speed(device, torch.bfloat16, _SPEED_SECONDS[device.type])
            operations = operations_of_a_step(recipe)
            note({"operations": operations, "best_operations_per_second": speed})


class _Steps:
    """Makes steps, and remembers the most memory that any of them took."""

    def __init__(self, made: Stepper, memory: DeviceMemory, peak: int) -> None:
        self._made = made
        self._memory = memory
        self.peak = peak
        memory.take_peak()

    def seconds(self, count: int) -> list[float]:
        """Of so many steps, each."""
        found = []
        for _ in range(count):
            begun = now()
            self._made.step()
            found.append(now() - begun)
            self.peak = max(self.peak, self._memory.take_peak())
        return found


def _measure(
    made: Stepper,
    memory: DeviceMemory,
    options: StepOptions,
    rounds: int,
    note: Note,
    opening: Mapping[str, int] | None = None,
) -> None:
    """Warm up, time whole steps, and split one of them. ``opening`` are peaks before, by phase."""
    opening = opening or {}
    steps = _Steps(made, memory, max(opening.values(), default=0))
    note(
        {
            "images": options.images,
            "rewards": options.rewards,
            "sampler_steps": options.sampler_steps,
            "noise_levels": options.noise_levels,
        }
    )
    note({"warm_up_seconds": steps.seconds(_WARM_UP)})
    seconds = steps.seconds(rounds)
    rate = options.images / statistics.median(seconds)
    note({"seconds": seconds, "images_per_second": rate})
    found = split_step(made, memory)
    in_use = memory.at_most(max(steps.peak, *found.peaks.values()))
    note(
        {
            "stages": found.seconds,
            "passes": {name: count / options.images for name, count in found.passes.items()},
            "peaks": {**opening, **peaks_by_phase(found.peaks)},
            "allocated": in_use.allocated,
            "reserved": in_use.reserved,
            "outside": in_use.outside,
            "card": total_memory(),
        }
    )
