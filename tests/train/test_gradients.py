"""The amortised step is the combined gradient, and nothing depends on how a batch is cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from marblecli.maths.balance import balance
from marblecli.maths.gram import gradient_stats
from marblecli.train.gradients import (
    LossSettings,
    TrainingBatch,
    amortised_backward,
    reward_gradients,
)
from marblecli.train.policy import Policies

Policymaker = Callable[..., Policies]
Batchmaker = Callable[..., TrainingBatch]


def flat(parts: list[Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts])


def amortised(
    policies: Policies, batch: TrainingBatch, settings: LossSettings, coefficients: Tensor
) -> Tensor:
    parameters = policies.trained_parameters().values()
    for parameter in parameters:
        parameter.grad = None
    amortised_backward(policies, batch, settings, coefficients)
    return flat([p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters])


@pytest.mark.parametrize("mode", ["lora", "full"])
@pytest.mark.parametrize("seed", range(3))
def test_amortised_step_is_the_combined_gradient(
    mode: str,
    seed: int,
    policies_of: Policymaker,
    batch_of: Batchmaker,
    loss_settings: LossSettings,
) -> None:
    """One backward with P and Q against K backwards: random masks, norms 30-fold apart, float64."""
    policies = policies_of(mode, torch.float64)
    batch = batch_of(torch.float64, seed)
    gradients = reward_gradients(policies, batch, loss_settings)
    names = tuple("abcde")
    stats = gradient_stats(names, gradients.blocks, [1] * 5)
    assert stats.norms.max() / stats.norms.min() >= 30
    coefficients = torch.from_numpy(balance(stats, "marble", np.ones(5)).coefficients)
    combined = flat(gradients.combine(coefficients))
    once = amortised(policies, batch, loss_settings, coefficients)
    assert torch.cosine_similarity(combined, once, dim=0).item() >= 1 - 1e-10
    # The network's own RMS norms round to float32, whatever the rest is in.
    torch.testing.assert_close(once, combined, rtol=1e-6, atol=1e-8 * float(combined.abs().max()))


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_k_gradients_are_plain_backward_passes_of_the_naive_losses(
    mode: str, policies_of: Policymaker, batch_of: Batchmaker, loss_settings: LossSettings
) -> None:
    """A batch of one reward, through ``amortised_backward``, is that reward alone."""
    policies = policies_of(mode, torch.float64)
    batch = batch_of(torch.float64)
    settings = replace(loss_settings, kl_weight=0.0)
    gradients = reward_gradients(policies, batch, settings)
    for k in range(5):
        alone = replace(
            batch, optimality=batch.optimality[:, k : k + 1], shares=batch.shares[:, k : k + 1]
        )
        expected = amortised(policies, alone, settings, torch.ones(1, dtype=torch.float64))
        torch.testing.assert_close(
            flat([block[k] for block in gradients.blocks]), expected, rtol=1e-9, atol=1e-14
        )


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_micro_batch_size_does_not_change_the_result(
    size: int, policies_of: Policymaker, batch_of: Batchmaker, loss_settings: LossSettings
) -> None:
    policies = policies_of("lora", torch.float64)
    batch = batch_of(torch.float64)
    coefficients = torch.ones(5, dtype=torch.float64)
    whole = reward_gradients(policies, batch, loss_settings).combine(coefficients)
    cut = replace(loss_settings, micro_batch_size=size)
    parts = reward_gradients(policies, batch, cut).combine(coefficients)
    torch.testing.assert_close(flat(parts), flat(whole), rtol=1e-9, atol=1e-12)


def test_penalty_pulls_towards_the_reference_and_stays_outside(
    policies_of: Policymaker, batch: TrainingBatch, loss_settings: LossSettings
) -> None:
    policies = policies_of("lora")
    with_penalty = reward_gradients(policies, batch, loss_settings)
    without = reward_gradients(policies, batch, replace(loss_settings, kl_weight=0.0))
    assert flat(with_penalty.penalty).norm() > 0
    assert flat(without.penalty).norm() == 0
    torch.testing.assert_close(flat(with_penalty.blocks), flat(without.blocks))


def test_a_dropped_reward_may_be_nan(
    policies_of: Policymaker, batch: TrainingBatch, loss_settings: LossSettings
) -> None:
    gradients = reward_gradients(policies_of("lora"), batch, loss_settings)
    for block in gradients.blocks:
        block[2] = float("nan")
    direction = gradients.combine(torch.tensor([1.0, 2.0, 0.0, 1.0, 1.0]))
    assert flat(direction).isfinite().all()


def test_the_same_step_draws_the_same_noise_and_another_step_does_not(
    batch: TrainingBatch,
) -> None:
    def noise(of: TrainingBatch) -> Tensor:
        return torch.cat([rows.noise for rows in of.rows(4)])

    assert torch.equal(noise(batch), noise(batch))
    assert not torch.equal(noise(batch), noise(replace(batch, noise_seed=(0, 2))))


def test_rows_cover_every_image_at_every_level(batch: TrainingBatch) -> None:
    rows = list(batch.rows(4))
    assert [len(part.noise_level) for part in rows] == [4, 2, 4, 2]
    levels = torch.cat([part.noise_level for part in rows]).view(2, 6).T
    assert torch.equal(levels, batch.noise_levels)
