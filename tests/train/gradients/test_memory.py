from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor

from marblecli.engine.reduction import ALONE
from marblecli.train.gradients.memory import GradientMemory
from marblecli.train.gradients.reward_gradients import PARTS, RewardGradients
from marblecli.types import FloatArray, GradientStats, SignalEstimate

NAMES = ("a", "b")
PARAMETERS = {"first": torch.zeros(2, 3), "second": torch.zeros(4)}


def gradients(seed: int) -> RewardGradients:
    """Of two rewards and two parameters, in parts, with a pull that must not be remembered."""
    generator = torch.Generator().manual_seed(seed)
    blocks = [
        torch.randn(3, 2, *parameter.shape, generator=generator)
        for parameter in PARAMETERS.values()
    ]
    return RewardGradients(blocks, [block[0, 0] for block in blocks], PARTS)


def flat(found: RewardGradients) -> FloatArray:
    """[K, P], the signals."""
    return torch.cat([block.flatten(1) for block in found.signal()], 1).double().numpy()


def stats(*usable: bool) -> GradientStats:
    return GradientStats(NAMES, np.diag([4.0, 9.0]), np.array(usable))


def remember(memory: GradientMemory, seed: int, *usable: bool) -> SignalEstimate | None:
    found = gradients(seed)
    if not usable[1]:
        for block in found.blocks:
            block[:, 1] = float("nan")
    own = np.nan_to_num(flat(found) @ flat(found).T)
    before = copied(memory)
    signal = memory.with_batch(found, stats(*usable), own, ALONE)
    same(copied(memory), before)
    memory.keep(found, stats(*usable), own)
    return signal


def copied(memory: GradientMemory) -> tuple[dict[str, Tensor], str]:
    tensors = memory.tensors(list(PARAMETERS))
    return {key: value.clone() for key, value in tensors.items()}, json.dumps(memory.state())


def same(one: tuple[dict[str, Tensor], str], other: tuple[dict[str, Tensor], str]) -> None:
    assert one[1] == other[1]
    assert one[0].keys() == other[0].keys()
    assert all(torch.equal(one[0][key], other[0][key]) for key in one[0])


def test_two_batches_give_the_product_of_their_signals() -> None:
    memory = GradientMemory(NAMES, 0.9)
    assert remember(memory, 0, True, True) is None
    signal = remember(memory, 1, True, True)
    assert signal is not None
    product = flat(gradients(0)) @ flat(gradients(1)).T
    assert signal.gram == pytest.approx((product + product.T) / 2, rel=1e-4, abs=1e-4)
    assert signal.norms == pytest.approx([2.0, 3.0])


def test_a_batch_without_a_reward_leaves_its_gradients_out() -> None:
    """The gradient that isn't usable is not a number, and no zero is remembered in its place."""
    memory = GradientMemory(NAMES, 0.9)
    remember(memory, 0, True, True)
    alone = remember(memory, 1, True, False)
    assert alone is not None
    assert alone.gram[1].tolist() == [0.0, 0.0]
    signal = remember(memory, 2, True, True)
    assert signal is not None
    expected = flat(gradients(0))[1] @ flat(gradients(2))[1]
    assert signal.gram[1, 1] == pytest.approx(expected, rel=1e-4)
    assert signal.norms == pytest.approx([2.0, 3.0])


def test_what_is_saved_goes_on_to_the_same_bits() -> None:
    memory, again = GradientMemory(NAMES, 0.9), GradientMemory(NAMES, 0.9)
    for seed in range(3):
        remember(memory, seed, True, seed != 1)
    tensors, state = copied(memory)
    assert tensors["first/b"].shape == (2, 3)
    again.load(PARAMETERS, tensors, json.loads(state))
    same(copied(again), copied(memory))
    one, other = remember(memory, 5, True, True), remember(again, 5, True, True)
    assert one is not None
    assert other is not None
    assert one.gram.tolist() == other.gram.tolist()
    assert again.take_notices() == ()


def test_an_empty_memory_is_saved_and_loaded_too() -> None:
    memory = GradientMemory(NAMES, 0.9)
    assert memory.tensors(list(PARAMETERS)) == {}
    memory.load(PARAMETERS, {}, memory.state())
    assert memory.take_notices() == ()
    assert remember(memory, 0, True, True) is None
