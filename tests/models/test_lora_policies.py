from __future__ import annotations

import torch
from diffusers import SD3Transformer2DModel
from torch import Tensor

from marblecli.models.lora_policies import LoraPolicies
from marblecli.models.policies import Policies, PolicyName
from marblecli.models.sd3.family import SD3
from marblecli.settings import LoraSettings
from marblecli.train.batch import TrainingBatch


def velocity(policies: Policies, name: PolicyName, batch: TrainingBatch) -> Tensor:
    return policies.velocity(name, batch.latents, batch.levels[:, 0], batch.conditioning)


def test_fresh_adapters_are_the_base_model(
    transformer: SD3Transformer2DModel, batch: TrainingBatch
) -> None:
    policies = LoraPolicies(SD3, transformer, LoraSettings(rank=2, alpha=4), torch.float32)
    base = velocity(policies, "reference", batch)
    assert torch.equal(velocity(policies, "trained", batch).detach(), base)
    assert torch.equal(velocity(policies, "old", batch), base)
    assert all(
        torch.equal(p, policies.old_parameters()[name])
        for name, p in policies.trained_parameters().items()
    )


def test_inputs_that_autocast_rounds_need_no_float32_copy(
    transformer: SD3Transformer2DModel, batch: TrainingBatch
) -> None:
    """Peft would widen each before autocast narrows it again: the same bits."""
    policies = LoraPolicies(SD3, transformer, LoraSettings(rank=2, alpha=4), torch.bfloat16)
    with torch.no_grad():
        for parameter in policies.trained_parameters().values():
            parameter.add_(0.05)
    narrow = velocity(policies, "trained", batch)
    for layer in policies.adapters.layers:
        assert not layer.cast_input_dtype_enabled
        layer.cast_input_dtype_enabled = True
    assert torch.equal(velocity(policies, "trained", batch), narrow)


def test_dora_trains_magnitudes_besides(
    transformer: SD3Transformer2DModel, batch: TrainingBatch
) -> None:
    policies = LoraPolicies(SD3, transformer, LoraSettings(rank=2, dora=True), torch.float32)
    magnitudes = [name for name in policies.trained_parameters() if "magnitude" in name]
    assert len(magnitudes) == len(policies.trained_parameters()) / 3
    base, trained = velocity(policies, "reference", batch), velocity(policies, "trained", batch)
    torch.testing.assert_close(trained.detach(), base)
    trained.square().sum().backward()
    grads = [policies.trained_parameters()[name].grad for name in magnitudes]
    # The last block's text stream ends in its attention: its queries and output lead nowhere.
    assert sum(grad is not None and bool(grad.abs().sum() > 0) for grad in grads) >= 12
