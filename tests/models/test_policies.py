from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from diffusers import SD3Transformer2DModel
from diffusers.training_utils import EMAModel
from torch import Tensor

from marblecli.models.policies import (
    FullPolicies,
    LoraPolicies,
    Policies,
    PolicyName,
    averaged_weights,
    make_policies,
)
from marblecli.settings import LORA_TARGETS, LoraSettings, ModelSettings
from marblecli.train.gradients import TrainingBatch

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


def fresh(mode: str, transformer: SD3Transformer2DModel) -> Policies:
    if mode == "lora":
        return LoraPolicies(transformer, LoraSettings(rank=2, alpha=4), torch.float32)
    return FullPolicies(transformer, torch.float32)


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
    ema = EMAModel(list(policies.trained_parameters().values()), decay=0.9)
    with averaged_weights(policies, ema):
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


@MODES
def test_frozen_weights_in_bf16_and_trained_ones_in_float32(
    mode: str, transformer: SD3Transformer2DModel, batch: TrainingBatch
) -> None:
    transformer.to(torch.bfloat16)
    settings = ModelSettings(pretrained="x", mode=mode, dtype="bf16")
    policies = make_policies(transformer, settings)
    own = (*policies.trained_parameters().values(), *policies.old_parameters().values())
    assert {parameter.dtype for parameter in own} == {torch.float32}
    reference = policies.network("reference").named_parameters()
    assert {p.dtype for name, p in reference if "lora_" not in name} == {torch.bfloat16}
    trained, old = velocity(policies, "trained", batch), velocity(policies, "old", batch)
    assert torch.equal(trained.detach(), old)
    assert trained.requires_grad


def test_inputs_that_autocast_rounds_need_no_float32_copy(
    transformer: SD3Transformer2DModel, batch: TrainingBatch
) -> None:
    """Peft would widen each before autocast narrows it again: the same bits."""
    policies = LoraPolicies(transformer, LoraSettings(rank=2, alpha=4), torch.bfloat16)
    with torch.no_grad():
        for parameter in policies.trained_parameters().values():
            parameter.add_(0.05)
    narrow = velocity(policies, "trained", batch)
    for layer in policies._layers:
        assert not layer.cast_input_dtype_enabled
        layer.cast_input_dtype_enabled = True
    assert torch.equal(velocity(policies, "trained", batch), narrow)


def test_all_linear_is_attention_and_feed_forward_of_both_streams(
    transformer: SD3Transformer2DModel,
) -> None:
    policies = LoraPolicies(transformer, LoraSettings(targets="all-linear"), torch.float32)
    names = policies.trained_parameters()
    adapted = {name.split(".lora_")[0].split(".", 2)[2] for name in names}
    second = {target.replace("attn.", "attn2.") for target in LORA_TARGETS if "add_" not in target}
    feed_forward = {f"{ff}.net.{part}" for ff in ("ff", "ff_context") for part in ("0.proj", "2")}
    assert adapted == {*LORA_TARGETS, *second, *feed_forward}
    assert all(name.startswith("transformer_blocks.") for name in names)
    assert policies.old_parameters().keys() == names.keys()


def test_dora_trains_magnitudes_besides(
    transformer: SD3Transformer2DModel, batch: TrainingBatch
) -> None:
    policies = LoraPolicies(transformer, LoraSettings(rank=2, dora=True), torch.float32)
    magnitudes = [name for name in policies.trained_parameters() if "magnitude" in name]
    assert len(magnitudes) == len(policies.trained_parameters()) / 3
    base, trained = velocity(policies, "reference", batch), velocity(policies, "trained", batch)
    torch.testing.assert_close(trained.detach(), base)
    trained.square().sum().backward()
    grads = [policies.trained_parameters()[name].grad for name in magnitudes]
    # The last block's text stream ends in its attention: its queries and output lead nowhere.
    assert sum(grad is not None and bool(grad.abs().sum() > 0) for grad in grads) >= 12


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
