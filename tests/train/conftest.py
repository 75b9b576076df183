"""A real SD3 transformer, small enough for float64 backward passes in milliseconds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from diffusers import SD3Transformer2DModel

from marblecli.settings import LoraSettings
from marblecli.train.backbone import Conditioning
from marblecli.train.gradients import LossSettings, TrainingBatch
from marblecli.train.policy import FullPolicies, LoraPolicies, Policies

IMAGES, LEVELS, REWARDS = 6, 2, 5


def make_transformer() -> SD3Transformer2DModel:
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=4,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=12,
        caption_projection_dim=16,
        pooled_projection_dim=8,
        pos_embed_max_size=4,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    for parameter in transformer.parameters():
        # Modulations start at zero in a fresh model, which would hide most of the network.
        torch.nn.init.normal_(parameter, std=0.2)
    return transformer


def make_policies(mode: str, dtype: torch.dtype = torch.float32) -> Policies:
    """Policies whose trained, old and reference weights differ."""
    transformer = make_transformer()
    policies: Policies
    if mode == "lora":
        policies = LoraPolicies(transformer, LoraSettings(rank=3, alpha=6), torch.float32)
    else:
        policies = FullPolicies(transformer, torch.float32)
    for name in ("trained", "old", "reference"):
        policies.network(name).to(dtype=dtype)
    disturb(policies, 0)
    policies.blend_old(0.4)
    disturb(policies, 1)
    return policies


@torch.no_grad()
def disturb(policies: Policies, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    for parameter in policies.trained_parameters().values():
        parameter.add_(0.05 * torch.randn(parameter.shape, generator=g))


@pytest.fixture
def policies_of() -> Callable[..., Policies]:
    return make_policies


@pytest.fixture
def loss_settings() -> LossSettings:
    return LossSettings(mix=0.1, advantage_clip=5.0, kl_weight=1e-2, micro_batch_size=4)


@pytest.fixture
def batch() -> TrainingBatch:
    return make_batch(torch.float32)


def make_batch(dtype: torch.dtype, seed: int = 0) -> TrainingBatch:
    g = torch.Generator().manual_seed(seed)
    valid = (torch.rand(IMAGES, REWARDS, generator=g) < 0.6).to(dtype)
    valid[0] = 1.0
    grid = torch.linspace(0.1, 0.95, 8, dtype=dtype)
    order = torch.stack([torch.randperm(8, generator=g)[:LEVELS] for _ in range(IMAGES)])
    return TrainingBatch(
        latents=torch.randn(IMAGES, 4, 4, 4, generator=g, dtype=dtype),
        conditioning=Conditioning(
            torch.randn(IMAGES, 3, 12, generator=g, dtype=dtype),
            torch.randn(IMAGES, 8, generator=g, dtype=dtype),
        ),
        noise_levels=grid[order],
        optimality=torch.rand(IMAGES, REWARDS, generator=g, dtype=dtype),
        # Shares 300-fold apart make the gradients' norms differ 30-fold or more.
        shares=valid / valid.sum(0) * torch.logspace(0, 2.5, REWARDS, dtype=dtype),
        noise_seed=(seed, 1),
    )


@pytest.fixture
def batch_of() -> Callable[..., TrainingBatch]:
    return make_batch


@pytest.fixture
def transformer() -> SD3Transformer2DModel:
    return make_transformer()
