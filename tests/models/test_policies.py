from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from diffusers import SD3Transformer2DModel
from torch import Tensor

from marblecli.models.average import Average, averaged_weights
from marblecli.models.full_policies import FullPolicies
from marblecli.models.lora_policies import LoraPolicies
from marblecli.models.policies import Policies, PolicyName
from marblecli.models.sd3.family import SD3
from marblecli.settings import LoraSettings
from marblecli.train.gradients.reward_gradients import TrainingBatch

Policymaker = Callable[..., Policies]
NAMES: tuple[PolicyName, ...] = ("trained", "old", "reference")
MODES = pytest.mark.parametrize("mode", ["lora", "full"])


def velocity(policies: Policies, name: PolicyName, batch: TrainingBatch) -> Tensor:
    return policies.velocity(name, batch.latents, batch.levels[:, 0], batch.conditioning)


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


def fresh(mode: str, transformer: SD3Transformer2DModel) -> Policies:
    if mode == "lora":
        return LoraPolicies(SD3, transformer, LoraSettings(rank=2, alpha=4), torch.float32)
    return FullPolicies(SD3, transformer, torch.float32)


@MODES
def test_old_is_known_to_be_trained_until_either_changes(
    mode: str, transformer: SD3Transformer2DModel
) -> None:
    policies = fresh(mode, transformer)
    assert policies.old_is_trained
    optimizer = torch.optim.AdamW(policies.trained_parameters().values())
    for parameter in policies.trained_parameters().values():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert not policies.old_is_trained
    policies.blend_old(0.5)
    assert not policies.old_is_trained
    policies.blend_old(0.0)
    assert policies.old_is_trained
    average = Average(policies.trained_parameters(), decay=0.9)
    with averaged_weights(policies, average):
        assert not policies.old_is_trained
    assert policies.old_is_trained
    next(iter(policies.old_parameters().values())).data.add_(1.0)
    policies.blend_old(0.1)
    assert not policies.old_is_trained


@MODES
def test_loaded_weights_are_known_to_be_the_same_if_they_are(
    mode: str, transformer: SD3Transformer2DModel
) -> None:
    policies = fresh(mode, transformer)
    one = {name: torch.ones_like(p) for name, p in policies.trained_parameters().items()}
    other = {name: 2 * p for name, p in one.items()}
    policies.load(one, other)
    assert not policies.old_is_trained
    policies.load(one, one)
    assert policies.old_is_trained


def graphs() -> int:
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


@pytest.mark.parametrize("mode", ["lora", pytest.param("full", marks=pytest.mark.slow)])
def test_compiled_blocks_change_policies_without_compiling_again(
    mode: str, policies_of: Policymaker, batch: TrainingBatch
) -> None:
    policies = policies_of(mode)
    torch._dynamo.reset()
    with torch.no_grad():
        expected = {name: velocity(policies, name, batch) for name in NAMES}
        policies.compile_blocks(backend="eager")
        start = graphs()
        for name in NAMES:
            assert torch.equal(velocity(policies, name, batch), expected[name])
        # Two kinds of block in this model; in full mode the policies are like each other.
        compiled = graphs() - start
        assert 2 <= compiled <= 2 * len(NAMES)
        for name in (*NAMES, *reversed(NAMES)):
            assert torch.equal(velocity(policies, name, batch), expected[name])
    assert graphs() - start == compiled
    # The pass that carries gradients runs as written.
    velocity(policies, "trained", batch).sum().backward()
    assert graphs() - start == compiled
    assert torch.equal(velocity(policies, "trained", batch).detach(), expected["trained"])
