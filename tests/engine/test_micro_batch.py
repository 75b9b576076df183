"""When memory runs out, the step starts again with half the micro-batch, to the same result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from marblecli.engine.micro_batch import MicroBatch
from marblecli.engine.processes import Processes
from marblecli.errors import MarbleError
from marblecli.train.loop import Progress, train_step
from marblecli.train.trainer import Trainer, restore, snapshot

Opener = Callable[..., Trainer]
FULL = "CUDA out of memory. Tried to allocate 2.00 GiB."


def scarce(room: int) -> Callable[[int], int]:
    def attempt(size: int) -> int:
        if size > room:
            raise torch.OutOfMemoryError(FULL)
        return size

    return attempt


@pytest.mark.parametrize(("setting", "first"), [("auto", 12), (7, 7), (100, 100)])
def test_the_first_size_is_the_recipes(setting: Any, first: int) -> None:
    assert MicroBatch(setting, 12, Processes()).fitted(lambda size: size) == first


@pytest.mark.parametrize(
    ("setting", "room", "fits"), [("auto", 5, 3), ("auto", 12, 12), (9, 4, 4), (100, 6, 6)]
)
def test_it_is_halved_until_it_fits_and_stays_there(setting: Any, room: int, fits: int) -> None:
    micro_batch = MicroBatch(setting, 12, Processes())
    assert micro_batch.fitted(scarce(room)) == fits
    assert micro_batch.fitted(lambda size: size) == fits


def test_every_halving_is_reported_once() -> None:
    micro_batch = MicroBatch("auto", 12, Processes())
    micro_batch.fitted(scarce(3))
    told = micro_batch.take_notices()
    assert [line.split(" at")[0][14:] for line in told] == ["with 12 images", "with 6 images"]
    assert "training.micro_batch_size is now 3" in told[-1]
    assert micro_batch.take_notices() == ()


def test_the_error_for_a_single_image_says_what_to_change() -> None:
    with pytest.raises(MarbleError, match=r"set model\.gradient_checkpointing = true"):
        MicroBatch(2, 12, Processes()).fitted(scarce(0))


def test_a_fixed_size_is_tried_once_and_the_error_says_what_to_change() -> None:
    """Processes with sharded weights can't start again: some may be waiting in a pass."""

    class Others(Processes):
        def agree(self, flag: bool) -> bool:
            raise AssertionError("they may be waiting in a pass")

    micro_batch = MicroBatch(9, 12, Others(), fixed=True)
    assert micro_batch.fitted(scarce(9)) == 9
    with pytest.raises(MarbleError, match=r"out of memory with 9 .*training\.micro_batch_size"):
        micro_batch.fitted(scarce(8))
    assert micro_batch.size == 9


def test_any_other_error_is_raised() -> None:
    def attempt(size: int) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        MicroBatch("auto", 12, Processes()).fitted(attempt)


def test_all_processes_start_again_if_memory_runs_out_in_one() -> None:
    class Others(Processes):
        """Another process fails the first attempt."""

        def agree(self, flag: bool) -> bool:
            asked.append(flag)
            return len(asked) == 1

    asked: list[bool] = []
    assert MicroBatch(8, 12, Others()).fitted(lambda size: size) == 4
    assert asked == [False, False]


def tensors(trainer: Trainer) -> list[Tensor]:
    parts = snapshot(trainer, 1, {}).tensors.values()
    return [tensor.clone() for part in parts for tensor in part.values()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


class Hungry:
    """Lets a layer's forward or backward pass run out of memory with more than ``room`` images.

    The first ``spared`` passes never fail.
    """

    def __init__(self, layer: nn.Module, room: int, spared: int, *, backward: bool) -> None:
        self.room, self.spared = room, spared
        hook = layer.register_full_backward_hook if backward else layer.register_forward_hook
        self.handle = hook(self)

    def __call__(self, _layer: nn.Module, _first: object, second: Any) -> None:
        tensor = second[0] if isinstance(second, tuple) else second
        self.spared -= 1
        if self.spared < 0 and len(tensor) > self.room:
            raise torch.OutOfMemoryError(FULL)


@pytest.mark.parametrize(
    ("backward", "overrides"),
    [
        (False, {}),
        (True, {"model.mode": "full"}),
        (True, {"model.gradient_checkpointing": True}),
        (True, {"training.gradients": "backward"}),
        (True, {"training.kl_weight": 0.1, "balance.refresh_every": 2}),
    ],
)
def test_a_step_that_runs_out_of_memory_is_the_step_with_a_smaller_micro_batch(
    backward: bool, overrides: dict[str, Any], open_tiny: Opener, recorded: Any
) -> None:
    """The memory runs out in the second step, and again at half the size."""
    begun_so = open_tiny({**overrides, "training.micro_batch_size": 1})
    halved = open_tiny({**overrides, "training.micro_batch_size": 6})
    first = open_tiny({**overrides, "training.micro_batch_size": 6})
    progress, _ = train_step(first, recorded, Progress())
    state = snapshot(first, 1, {})
    for trainer in (begun_so, halved):
        restore(trainer, state)
        trainer.sampler.micro_batch.size = 1 if trainer is begun_so else 6
    layer = halved.sampler.policies.network("trained").transformer_blocks[-1].norm2
    # A backward pass fails when the accumulators of the layers behind it are filled already.
    hungry = Hungry(layer, 1, 1 if backward else 0, backward=backward)
    # Sampling goes through the same layer, and isn't to fail.
    sampled = halved.sampler.policies.velocity

    def velocity(*args: Any) -> Tensor:
        if torch.is_grad_enabled():
            return sampled(*args)
        room, hungry.room = hungry.room, 10**6
        found = sampled(*args)
        hungry.room = room
        return found

    object.__setattr__(halved.sampler.policies, "velocity", velocity)
    _, report = train_step(halved, recorded, progress)
    hungry.handle.remove()
    train_step(begun_so, recorded, progress)
    assert halved.sampler.micro_batch.size == 1
    assert len(report.notices) == 2
    assert same(tensors(halved), tensors(begun_so))
    assert recorded.metrics[-2]["micro_batch_size"] == 1


def test_a_resumed_run_goes_on_with_the_halved_size(open_tiny: Opener) -> None:
    one = open_tiny({"training.micro_batch_size": "auto"})
    assert one.sampler.micro_batch.size == 6
    one.sampler.micro_batch.size = 3
    other = open_tiny({"training.micro_batch_size": "auto"})
    restore(other, snapshot(one, 0, {}))
    assert other.sampler.micro_batch.size == 3
