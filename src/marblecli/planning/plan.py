"""The plan of a run's memory: what holds how many bytes in which phase."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from marblecli.settings import Recipe

Phase = Literal["prompts", "sampling", "decoding", "gradients", "update"]
PHASES: tuple[Phase, ...] = ("prompts", "sampling", "decoding", "gradients", "update")

GIB = 2**30


@dataclass(frozen=True)
class Item:
    """One use of memory."""

    label: str
    bytes: Mapping[Phase, int]
    """By the phases that it lives in."""
    on_cpu: bool = False
    """Whether it is in the CPU's memory, not the device's."""


@dataclass(frozen=True)
class MemoryPlan:
    """What a run holds, in its five phases."""

    items: tuple[Item, ...]
    trained: int
    """Parameters that are trained."""
    row: int
    """Bytes of activations of one image at one noise level, kept for its backward passes."""
    row_otherwise: int
    """The same with gradient checkpointing turned the other way."""
    unknown_rewards: tuple[str, ...]
    """Rewards on the device that don't say what their weights take."""

    def total(self, phase: Phase) -> int:
        """Bytes of the device in use at once in a phase."""
        return self._sum(phase, on_cpu=False)

    @property
    def cpu_peak(self) -> int:
        """Bytes of the CPU's memory that stand in for the device's, in the phase with the most."""
        return max(self._sum(phase, on_cpu=True) for phase in PHASES)

    def _sum(self, phase: Phase, *, on_cpu: bool) -> int:
        return sum(item.bytes.get(phase, 0) for item in self.items if item.on_cpu == on_cpu)

    @property
    def peak(self) -> Phase:
        """The phase that takes the most."""
        return max(PHASES, key=self.total)

    def excess(self, limit: int) -> int:
        """Bytes beyond ``limit``, summed over the phases; 0 for a plan that fits."""
        return sum(max(0, self.total(phase) - limit) for phase in PHASES)


@dataclass(frozen=True)
class RewardWeights:
    """What a reward's weights take on the device."""

    bytes: int | None
    """None where the reward doesn't say."""
    offloaded: bool = False
    """Whether they are on the device only while the reward scores."""


def micro_batch_images(recipe: Recipe) -> int:
    """Images of a micro-batch as far as the recipe says; ``auto`` says that one is the least."""
    size = recipe.training.micro_batch_size
    return 1 if size == "auto" else min(size, images_of_a_step(recipe))


def trained_rows(recipe: Recipe, images: int) -> int:
    """How many of the rows of a step's ``images`` are trained, if all groups vary."""
    return max(1, round(recipe.trained_share * images * recipe.training.noise_levels))


def images_of_a_step(recipe: Recipe) -> int:
    """Images sampled for one optimizer step."""
    return recipe.sampling.prompts_per_step * recipe.sampling.group_size
