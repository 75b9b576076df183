from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from diffusers import SD3Transformer2DModel
from torch import Tensor

from marblecli.settings import LORA_TARGETS, LoraSettings
from marblecli.train.gradients import TrainingBatch
from marblecli.train.policy import LoraPolicies, Policies, PolicyName

Policymaker = Callable[..., Policies]
NAMES: tuple[PolicyName, ...] = ("trained", "old", "reference")
MODES = pytest.mark.parametrize("mode", ["lora", "full"])


def velocity(policies: Policies, name: PolicyName, batch: TrainingBatch) -> Tensor:
    return policies.velocity(name, batch.latents, batch.noise_levels[:, 0], batch.conditioning)


@MODES
def test_the_three_policies_are_three(
    mode: str, policies_of: Policymaker, batch: TrainingBatch
) -> None:
    policies = policies_of(mode)
    trained, old, reference = (velocity(policies, name, batch) for name in NAMES)
    assert not torch.allclose(trained, old)
    assert not torch.allclose(old, reference)
    assert not torch.allclose(trained, reference)


@MODES
def test_asking_for_one_policy_does_not_change_another(
    mode: str, policies_of: Policymaker, batch: TrainingBatch
) -> None:
    policies = policies_of(mode)
    first = {name: velocity(policies, name, batch).detach() for name in NAMES}
    for name in (*NAMES, *reversed(NAMES)):
        assert torch.equal(velocity(policies, name, batch).detach(), first[name])


@MODES
def test_only_the_trained_policy_carries_gradients(
    mode: str, policies_of: Policymaker, batch: TrainingBatch
) -> None:
    policies = policies_of(mode)
    assert not velocity(policies, "old", batch).requires_grad
    assert not velocity(policies, "reference", batch).requires_grad
    velocity(policies, "trained", batch).square().sum().backward()
    assert any(
        p.grad is not None and p.grad.abs().sum() > 0
        for p in policies.trained_parameters().values()
    )
    assert all(p.grad is None for p in policies.old_parameters().values())


@MODES
def test_blend_moves_old_towards_trained(
    mode: str, policies_of: Policymaker, batch: TrainingBatch
) -> None:
    policies = policies_of(mode)
    before = {name: p.detach().clone() for name, p in policies.old_parameters().items()}
    policies.blend_old(0.25)
    for name, old in policies.old_parameters().items():
        expected = 0.25 * before[name] + 0.75 * policies.trained_parameters()[name]
        torch.testing.assert_close(old, expected)
    policies.blend_old(0.0)
    torch.testing.assert_close(
        velocity(policies, "old", batch), velocity(policies, "trained", batch).detach()
    )


@MODES
def test_training_leaves_the_reference_alone(
    mode: str, policies_of: Policymaker, batch: TrainingBatch
) -> None:
    policies = policies_of(mode)
    before = velocity(policies, "reference", batch)
    with torch.no_grad():
        for parameter in policies.trained_parameters().values():
            parameter.add_(1.0)
    policies.blend_old(0.0)
    assert torch.equal(velocity(policies, "reference", batch), before)


def test_fresh_adapters_are_the_base_model(
    transformer: SD3Transformer2DModel, batch: TrainingBatch
) -> None:
    policies = LoraPolicies(transformer, LoraSettings(rank=2, alpha=4), torch.float32)
    base = velocity(policies, "reference", batch)
    assert torch.equal(velocity(policies, "trained", batch).detach(), base)
    assert torch.equal(velocity(policies, "old", batch), base)
    assert all(
        torch.equal(p, policies.old_parameters()[name])
        for name, p in policies.trained_parameters().items()
    )


def test_adapters_sit_on_the_published_projections(policies_of: Policymaker) -> None:
    names = policies_of("lora").trained_parameters()
    adapted = {name.split(".lora_")[0].split(".", 2)[2] for name in names}
    assert adapted == set(LORA_TARGETS)


@MODES
def test_loaded_weights_are_the_saved_ones(
    mode: str, policies_of: Policymaker, batch: TrainingBatch
) -> None:
    one = policies_of(mode)
    saved = [
        {name: p.detach().clone() for name, p in part.items()}
        for part in (one.trained_parameters(), one.old_parameters())
    ]
    wanted = velocity(one, "trained", batch).detach()
    with torch.no_grad():
        for parameter in one.trained_parameters().values():
            parameter.zero_()
    one.load(*saved)
    assert torch.equal(velocity(one, "trained", batch).detach(), wanted)
