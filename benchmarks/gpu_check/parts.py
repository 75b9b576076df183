"""The parts by value: what each answers, how long it may take, and what measures it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from gpu_check.results import Note
from gpu_check.sizes import Sizes


@dataclass(frozen=True)
class Part:
    """One part."""

    name: str
    answers: str
    limit: int
    """Seconds, with the start of its process."""
    place: str
    """``module:function`` in this package; the module is imported by the part's own process."""

    def measure(self, sizes: Sizes, note: Note) -> None:
        """Make the measurement in this process."""
        module, function = self.place.split(":")
        run: Callable[[Sizes, Note], None] = getattr(import_module(f"gpu_check.{module}"), function)
        run(sizes, note)


PARTS = (
    Part("tests", "whether the tests that need CUDA pass", 130, "marked_tests:gpu_tests"),
    Part("ours", "a step of five rewards with the recipes' geometry", 130, "step_parts:ours"),
    Part("published", "a step as published", 220, "step_parts:published"),
    Part("capped", "the recipe for 24 GB under its cap", 140, "step_parts:capped"),
    Part("one-reward", "the same step with one reward", 100, "step_parts:one_reward"),
    Part(
        "gradients",
        "contracted gradients against plain ones, bf16 against float32",
        120,
        "gradient_part:gradients",
    ),
    Part(
        "published-geometry",
        "the published geometry with our choices",
        160,
        "step_parts:published_geometry",
    ),
    Part("full", "full mode", 120, "step_parts:full"),
    Part(
        "updates",
        "the cost of the K gradients, of checkpointing, and of compiling",
        180,
        "update_part:updates",
    ),
    Part("offload", "full mode with the weights in the CPU's memory", 200, "step_parts:offload"),
)
"""By value: where the time is cut short, the last ones are left out."""


def part_named(name: str) -> Part:
    """The part of that name."""
    return next(part for part in PARTS if part.name == name)
