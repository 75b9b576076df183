"""All variants make an update of the same batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import update_variants

SHAPE = update_variants.Shape(
    layers=1,
    width=64,
    rank=2,
    side=4,
    text_tokens=3,
    images=2,
    noise_levels=4,
    micro_batch_size=2,
    bf16=False,
)


@pytest.fixture(scope="module")
def bench() -> update_variants.Bench:
    return update_variants.make_bench(SHAPE, torch.device("cpu"))


def gradient(bench: update_variants.Bench, variant: update_variants.Variant) -> Tensor:
    """The gradient that the variant gives to the optimizer."""
    taken: list[Tensor] = []
    parameters = list(bench.policies.trained_parameters().values())
    handle = bench.optimizer.register_step_pre_hook(
        lambda *_: taken.extend(p.grad.flatten().clone() for p in parameters)
    )
    variant.update()
    handle.remove()
    return torch.cat(taken)


def test_the_exact_variants_step_the_same_direction(bench: update_variants.Bench) -> None:
    variants = update_variants.make_variants(bench, 0.25)
    backward = gradient(bench, variants["K + 1 backward passes, K = 5"])
    contracted = gradient(bench, variants["contracted, K = 5"])
    assert torch.cosine_similarity(backward, contracted, dim=0).item() > 0.9999


def test_an_update_changes_no_weight(bench: update_variants.Bench) -> None:
    before = [p.detach().clone() for p in bench.policies.trained_parameters().values()]
    for variant in update_variants.make_variants(bench, 0.25).values():
        variant.update()
    after = bench.policies.trained_parameters().values()
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_predictions_worked_by_hand(bench: update_variants.Bench) -> None:
    """In forward passes for each row; a backward pass costs one, and the pull is on an eighth."""
    passes = {
        name: variant.passes(1.0, 0.125)
        for name, variant in update_variants.make_variants(bench, 0.125).items()
    }
    assert passes["single, as published"] == 4.0
    assert passes["K + 1 backward passes, K = 5"] == 9.0
    assert passes["contracted, K = 5"] == 6.0
    assert passes["contracted, sparse pull, K = 20"] == pytest.approx(2.125 + 1.25)
