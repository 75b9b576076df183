"""Whether contracted gradients equal plain ones on this device, and what bf16 changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from gpu_check.networks import random_transformer, update_shape
from gpu_check.results import Note
from gpu_check.sizes import Sizes
from marblecli.train.gradients.plain import reward_gradients
from marblecli.train.gradients.reward_gradients import RewardGradients, contracted_gradients
from update_variants import Bench, bench_of
from whole_steps import device_here


def gradients(sizes: Sizes, note: Note) -> None:
    """Gradients of K rewards of the same rows, in float32 and in bf16, and both ways."""
    exact = _bench(sizes, bf16=False)
    with _products("highest"):
        truth = contracted(exact)
        note({"contracted and plain, float32": difference(truth, plain(exact))})
    with _products("high"):
        note({"float32 with and without TF32": difference(contracted(exact), truth)})
    low = _bench(sizes, bf16=True)
    low.policies.load(exact.policies.trained_parameters(), exact.policies.old_parameters())
    batch = exact.batch
    del exact
    low = Bench(low.policies, low.optimizer, batch, low.settings)
    # As a run on CUDA sets it.
    with _products("high"):
        found = contracted(low)
        note({"contracted and plain, bf16": difference(found, plain(low))})
    note({"bf16 and float32": difference(found, truth)})
    truth_cosines, found_cosines = _cosines(truth), _cosines(found)
    note(
        {
            "cosines between rewards, float32": truth_cosines.tolist(),
            "largest change of such a cosine": float((truth_cosines - found_cosines).abs().max()),
        }
    )


def contracted(bench: Bench) -> list[Tensor]:
    """For each parameter [K, ...], by two backward passes."""
    return _kept(contracted_gradients(bench.policies, bench.batch, bench.settings, parts=False))


def plain(bench: Bench) -> list[Tensor]:
    """For each parameter [K, ...], by a backward pass for each reward."""
    return _kept(reward_gradients(bench.policies, bench.batch, bench.settings))


def difference(found: list[Tensor], truth: list[Tensor]) -> dict[str, Any]:
    """By reward, the cosine of two gradients, and the length of their difference as a share."""
    inner, one, other, apart = (
        sum(_sums(a, b) for a, b in pairs)
        for pairs in (
            zip(found, truth, strict=True),
            zip(found, found, strict=True),
            zip(truth, truth, strict=True),
            ((a - b, a - b) for a, b in zip(found, truth, strict=True)),
        )
    )
    return {
        "cosines": (inner / (one * other).sqrt()).tolist(),
        "relative_difference": (apart / other).sqrt().tolist(),
    }


def _kept(found: RewardGradients) -> list[Tensor]:
    return list(found.whole())


def _sums(one: Tensor, other: Tensor) -> Tensor:
    """[K], inner products in double precision."""
    return (one.double() * other.double()).flatten(1).sum(1).cpu()


def _cosines(found: list[Tensor]) -> Tensor:
    """[K, K], between the rewards' gradients."""
    flat = [each.double().flatten(1) for each in found]
    gram = torch.stack([each @ each.T for each in flat]).sum(0).cpu()
    lengths = gram.diagonal().sqrt()
    return gram / lengths / lengths[:, None]


def _bench(sizes: Sizes, *, bf16: bool) -> Bench:
    shape = update_shape(sizes, sizes.compared, bf16=bf16)
    network = random_transformer(sizes)
    return bench_of(network, shape, device_here()).with_rewards(sizes.rewards)


@contextmanager
def _products(precision: str) -> Iterator[None]:
    """Inside, products in float32 have this precision on CUDA."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
