"""A run's weights on a small transformer, as what is exported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import SD3Transformer2DModel
from torch import Tensor

from marblecli.export.subject import Subject
from marblecli.models.lora_policies import LoraPolicies
from marblecli.models.sd3.family import SD3
from marblecli.models.supported import Architecture, examine_model
from marblecli.settings import LoraSettings, ModelSettings
from support.training import disturb

MakeSubject = Callable[..., Subject]


@pytest.fixture(scope="session")
def subject_of(tiny_folder: Path) -> MakeSubject:
    """(rank, alpha, dora, targets) -> weights drawn at random, on the tiny model."""

    def make(
        rank: int = 2,
        alpha: float = 6.0,
        dora: bool = False,
        targets: tuple[str, ...] = ("attn.to_q", "attn.to_v", "attn.to_out.0", "attn.add_k_proj"),
    ) -> Subject:
        lora = LoraSettings(rank=rank, alpha=alpha, dora=dora, targets=targets)
        model = ModelSettings(pretrained=str(tiny_folder), dtype="fp32", lora=lora)
        architecture = examine_model(model).architecture
        assert isinstance(architecture, Architecture)
        subject = Subject("tiny", model, 0, SD3, architecture, {})
        network = SD3Transformer2DModel.from_pretrained(tiny_folder / "transformer")
        policies = LoraPolicies(SD3, network, lora, torch.float32, old=False)
        disturb(policies, seed=1)
        weights = {name: p.detach() for name, p in policies.trained_parameters().items()}
        return replace(subject, weights=weights)

    return make


@pytest.fixture(scope="session")
def full_subject(tiny_folder: Path) -> Subject:
    """All weights, each changed."""
    model = ModelSettings(pretrained=str(tiny_folder), dtype="fp32", mode="full")
    architecture = examine_model(model).architecture
    assert isinstance(architecture, Architecture)
    network = SD3Transformer2DModel.from_pretrained(tiny_folder / "transformer")
    generator = torch.Generator().manual_seed(0)
    weights: dict[str, Tensor] = {
        name: p.detach() + 0.1 * torch.randn(p.shape, generator=generator)
        for name, p in network.named_parameters()
    }
    return Subject("tiny", model, 0, SD3, architecture, weights)
