from __future__ import annotations

import pytest
import torch
from diffusers import SD3Transformer2DModel
from torch import Tensor

from marblecli.models.full_policies import FullPolicies
from marblecli.models.lora_policies import LoraPolicies
from marblecli.models.make_policies import make_policies
from marblecli.models.policies import Policies, PolicyName
from marblecli.models.sd3.family import SD3
from marblecli.settings import ModelSettings
from marblecli.train.batch import TrainingBatch

MODES = pytest.mark.parametrize("mode", ["lora", "full"])


def velocity(policies: Policies, name: PolicyName, batch: TrainingBatch) -> Tensor:
    return policies.velocity(name, batch.latents, batch.levels[:, 0], batch.conditioning)


@MODES
def test_frozen_weights_in_bf16_and_trained_ones_in_float32(
    mode: str, transformer: SD3Transformer2DModel, batch: TrainingBatch
) -> None:
    transformer.to(torch.bfloat16)
    settings = ModelSettings(pretrained="x", mode=mode, dtype="bf16")
    policies = make_policies(SD3, transformer, settings)
    own = (*policies.trained_parameters().values(), *policies.old_parameters().values())
    assert {parameter.dtype for parameter in own} == {torch.float32}
    reference = policies.network("reference").named_parameters()
    assert {p.dtype for name, p in reference if "lora_" not in name} == {torch.bfloat16}
    trained, old = velocity(policies, "trained", batch), velocity(policies, "old", batch)
    assert torch.equal(trained.detach(), old)
    assert trained.requires_grad


@MODES
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_recipes_mode_decides(
    mode: str, checkpointing: bool, transformer: SD3Transformer2DModel
) -> None:
    settings = ModelSettings(
        pretrained="x", mode=mode, dtype="fp32", gradient_checkpointing=checkpointing
    )
    policies = make_policies(SD3, transformer, settings)
    assert isinstance(policies, LoraPolicies if mode == "lora" else FullPolicies)
    assert (policies.checkpoints is not None) == checkpointing
    assert transformer.is_gradient_checkpointing == checkpointing
