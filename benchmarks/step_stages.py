"""Where the time, the passes and the memory of a whole step go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from torch import Tensor

import published
from device_memory import DeviceMemory
from marblecli.models.policies import Policies
from marblecli.train.gradients.contraction import Contraction
from stopwatch import OTHER, Stopwatch
from whole_steps import Stepper

LOSS = "loss"
"""The stage inside which the policies' forward passes are stages of their own, by policy."""

PHASE_OF_STAGE = {
    "prompts": "prompts",
    "sampling": "sampling",
    "waiting for rewards": "decoding",
    "decoding": "decoding",
    LOSS: "gradients",
    "old forward": "gradients",
    "reference forward": "gradients",
    "trained forward": "gradients",
    "backward": "gradients",
    "balance": "update",
    "optimizer": "update",
    OTHER: "update",
}
"""The phases of the memory plan. What is outside of all stages is mostly the update."""


@dataclass(frozen=True)
class Stages:
    """One step."""

    seconds: dict[str, float]
    """By stage."""
    peaks: dict[str, int]
    """Bytes by stage; empty unless memory was watched."""
    passes: dict[str, int]
    """Images that went through a network: sampling, by policy in the loss, and backward."""


def split_step(made: Stepper, memory: DeviceMemory | None = None) -> Stages:
    """Make a step and watch it. It waits for the device at every change of the stage."""
    watch, passes = Stopwatch(memory), Counter[str]()
    with (
        watch.watching(*made.watched),
        _forward_passes(watch, passes),
        _backward_passes(passes),
        watch.fresh() as split,
    ):
        made.step()
    return Stages(split, dict(watch.peaks), dict(passes))


def peaks_by_phase(peaks: dict[str, int]) -> dict[str, int]:
    """From peaks by stage to peaks by phase of the memory plan."""
    found: dict[str, int] = {}
    for stage, peak in peaks.items():
        phase = PHASE_OF_STAGE.get(stage, "update")
        found[phase] = max(peak, found.get(phase, 0))
    return found


@contextmanager
def _forward_passes(watch: Stopwatch, passes: Counter[str]) -> Iterator[None]:
    plain = Policies.velocity

    def velocity(policies: Policies, name: Any, *inputs: Any) -> Tensor:
        inside = watch.current == LOSS
        stage = f"{name} forward" if inside else "sampling"
        passes[stage] += len(inputs[0])
        if not inside:
            return plain(policies, name, *inputs)
        with watch.stage(stage):
            return plain(policies, name, *inputs)

    with patch.object(Policies, "velocity", velocity):
        yield


@contextmanager
def _backward_passes(passes: Counter[str]) -> Iterator[None]:
    """Count the published backward pass, and those of the contraction."""
    contracted, single = Contraction.backward, published.backward

    def of_contraction(contraction: Contraction, output: Tensor, each: Any) -> None:
        passes["backward"] += len(output) * len(each)
        contracted(contraction, output, each)

    def of_published(loss: Tensor) -> None:
        # One backward pass follows every forward pass of the trained policy.
        passes["backward"] = passes["trained forward"]
        single(loss)

    with (
        patch.object(Contraction, "backward", of_contraction),
        patch.object(published, "backward", of_published),
    ):
        yield
