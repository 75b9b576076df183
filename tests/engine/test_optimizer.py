from __future__ import annotations

import sys
from typing import Literal

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from marblecli.engine.optimizer import (
    learning_rate,
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
)
from marblecli.errors import BadInputError
from marblecli.settings import TrainingSettings

Kind = Literal["adamw", "adamw-8bit"]
KINDS = pytest.mark.parametrize("kind", ["adamw", "adamw-8bit"])


def needed(kind: Kind) -> None:
    if kind == "adamw-8bit":
        pytest.importorskip("bitsandbytes")


def settings(kind: Kind) -> TrainingSettings:
    return TrainingSettings(steps=1, learning_rate=1e-2, weight_decay=0.1, optimizer=kind)


def parameters() -> list[Parameter]:
    generator = torch.Generator().manual_seed(0)
    # The first parameter is large enough to be kept in 8 bits; the second isn't.
    return [Parameter(torch.randn(shape, generator=generator)) for shape in ((96, 64), (3, 5))]


def step(optimizer: torch.optim.Optimizer, parts: list[Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for part in parts:
        part.grad = torch.randn(part.shape, generator=generator)
    optimizer.step()


@KINDS
def test_the_first_step_is_that_of_adam_with_decoupled_decay(kind: Kind) -> None:
    """Without history, Adam steps by the signs of the gradient."""
    needed(kind)
    parts = parameters()
    before = [part.detach().clone() for part in parts]
    step(make_optimizer(parts, settings(kind)), parts, 1)
    for part, old in zip(parts, before, strict=True):
        assert part.grad is not None
        expected = old * (1 - 1e-2 * 0.1) - 1e-2 * part.grad.sign()
        torch.testing.assert_close(part.detach(), expected, rtol=1e-3, atol=1e-4)


@KINDS
def test_an_optimizer_with_restored_state_makes_the_same_step_to_the_bit(kind: Kind) -> None:
    needed(kind)
    one, other = parameters(), parameters()
    first, second = make_optimizer(one, settings(kind)), make_optimizer(other, settings(kind))
    step(first, one, 1)
    step(first, one, 2)
    saved = optimizer_tensors(first)
    assert all(isinstance(value, Tensor) for value in saved.values())
    kept = {name: value.clone() for name, value in saved.items()}
    load_optimizer_tensors(second, kept)
    for mine, theirs in zip(other, one, strict=True):
        mine.data.copy_(theirs)
    step(first, one, 3)
    step(second, other, 3)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    # Further steps don't change the tensors that the state was restored from.
    again = make_optimizer(parameters(), settings(kind))
    load_optimizer_tensors(again, kept)
    loaded = optimizer_tensors(again)
    assert loaded.keys() == kept.keys()
    step(again, again.param_groups[0]["params"], 3)
    now = optimizer_tensors(second)
    assert all(torch.equal(now[name], value) for name, value in optimizer_tensors(again).items())


def test_eight_bits_take_a_quarter_of_the_memory() -> None:
    needed("adamw-8bit")
    sizes = {}
    for kind in ("adamw", "adamw-8bit"):
        part = [Parameter(torch.zeros(256, 1024))]
        optimizer = make_optimizer(part, settings(kind))
        step(optimizer, part, 0)
        state = optimizer_tensors(optimizer).values()
        sizes[kind] = sum(value.numel() * value.element_size() for value in state)
    assert sizes["adamw-8bit"] < 0.27 * sizes["adamw"]


def test_a_missing_bitsandbytes_is_an_error_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(BadInputError, match="pip install bitsandbytes"):
        make_optimizer(parameters(), settings("adamw-8bit"))


@pytest.mark.gpu
def test_on_cuda_it_is_fused() -> None:
    part = [Parameter(torch.zeros(4, 4, device="cuda"))]
    optimizer = make_optimizer(part, settings("adamw"))
    assert optimizer.defaults["fused"]
    step_on = torch.ones(4, 4, device="cuda")
    part[0].grad = step_on
    optimizer.step()
    saved = optimizer_tensors(optimizer)
    load_optimizer_tensors(optimizer, saved)
    now = optimizer_tensors(optimizer)
    assert all(torch.equal(now[name], value) for name, value in saved.items())


def rates(schedule: Literal["constant", "linear", "cosine"], warmup: int) -> list[float]:
    training = TrainingSettings(steps=4, learning_rate=0.5, schedule=schedule, warmup_steps=warmup)
    return [learning_rate(training, step) for step in range(1, 5)]


def test_the_learning_rate_follows_its_schedule() -> None:
    assert rates("constant", 0) == [0.5, 0.5, 0.5, 0.5]
    assert rates("linear", 0) == [0.5, 0.375, 0.25, 0.125]
    assert rates("linear", 2) == [0.0, 0.25, 0.5, 0.25]
    assert rates("constant", 2) == [0.0, 0.25, 0.5, 0.5]
    halves = [0.5, 0.25 + 0.125 * 2**0.5, 0.25, 0.25 - 0.125 * 2**0.5]
    assert rates("cosine", 0) == pytest.approx(halves)
