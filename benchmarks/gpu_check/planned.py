"""What ``marble train --dry-run`` counts for a recipe, to be held against what is measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from device_memory import total_memory
from marblecli.models.architectures import UnreadableConfigError
from marblecli.models.supported import examine_model
from marblecli.planning.memory import count_memory
from marblecli.planning.operations import count_operations
from marblecli.planning.plan import PHASES, MemoryPlan, RewardWeights
from marblecli.planning.simulation import Simulation
from marblecli.planning.subject import Subject
from marblecli.settings import ModelSettings, Recipe
from synthetic import reward_name, tower_bytes
from whole_steps import StepOptions

_MARGIN = 0.98
"""The share of the card's memory that a plan may take to be tried."""
_CPU_MARGIN = 0.85
_CGROUP = Path("/sys/fs/cgroup")


def count_plan(recipe: Recipe, rewards: Mapping[str, RewardWeights]) -> MemoryPlan:
    """The memory plan."""
    return count_memory(recipe, _simulation(recipe.model), rewards)


def plan_figures(plan: MemoryPlan) -> dict[str, Any]:
    """The plan's bytes by phase, its peak, and what it puts into the CPU's memory."""
    return {
        "phases": {phase: plan.total(phase) for phase in PHASES},
        "peak": plan.total(plan.peak),
        "phase": plan.peak,
        "cpu": plan.cpu_peak,
    }


def operations_of_a_step(recipe: Recipe) -> float:
    """Floating-point operations of sampling, decoding and training."""
    return count_operations(recipe, _simulation(recipe.model).subject, 1).step


def reward_weights(options: StepOptions, rewards: int, device: str) -> dict[str, RewardWeights]:
    """What the synthetic rewards take on the device."""
    towers = options.towers
    return {
        reward_name(index): RewardWeights(
            tower_bytes(towers[index % len(towers)], device), options.offload_rewards
        )
        for index in range(rewards)
    }


def fits(plan: MemoryPlan) -> bool:
    """Whether a plan fits this machine: its card, if it has one, and the CPU's memory."""
    card = total_memory()
    on_the_card = card is None or plan.total(plan.peak) <= _MARGIN * card
    return on_the_card and plan.cpu_peak <= _CPU_MARGIN * available_cpu_memory()


def available_cpu_memory() -> int:
    """Bytes of the CPU's memory that may still be used, as the machine or its container allows."""
    found = int(psutil.virtual_memory().available)
    limit, used = _CGROUP / "memory.max", _CGROUP / "memory.current"
    if limit.is_file() and used.is_file() and (text := limit.read_text().strip()) != "max":
        found = min(found, int(text) - int(used.read_text()))
    return found


_SIMULATIONS: dict[str, Simulation] = {}
"""By model; what was run once on fake tensors isn't run again."""


def _simulation(model: ModelSettings) -> Simulation:
    if model.pretrained not in _SIMULATIONS:
        examined = examine_model(model)
        if isinstance(examined.architecture, UnreadableConfigError):
            raise examined.architecture
        subject = Subject(examined.family, examined.architecture)
        _SIMULATIONS[model.pretrained] = Simulation(subject)
    return _SIMULATIONS[model.pretrained]
