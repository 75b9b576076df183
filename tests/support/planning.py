"""Small models for the plan of the memory, and the same passes on real tensors of the CPU."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from marblecli.engine.shards import UNSHARDED, Shards
from marblecli.models.architectures import Architecture, folder_architecture
from marblecli.models.dtypes import DTYPES
from marblecli.models.family import FrozenParts, LoadRequest
from marblecli.models.make_policies import make_policies
from marblecli.models.policies import Policies
from marblecli.models.sd3.family import SD3
from marblecli.models.sd3.parts import build_part
from marblecli.planning.fake_model import DeviceKind, ModelCase
from marblecli.planning.live_bytes import LiveBytes
from marblecli.planning.micro_step import GradientCase
from marblecli.planning.simulation import Simulation
from marblecli.planning.subject import Subject
from marblecli.settings import ModelSettings, Recipe
from marblecli.train.batch import LossSettings, TrainingBatch
from marblecli.train.gradients.plain import reward_gradients
from marblecli.train.gradients.reward_gradients import contracted_gradients

TINY = Path(__file__).parents[2] / "plugins" / "marble-reward-shapes" / "tiny-sd3"
RESOLUTION = 48
"""Pixels of a side: 12 places of the latents with the tiny VAE."""
SMALL: Mapping[str, Any] = {
    "sample_size": 12,
    "in_channels": 8,
    "out_channels": 8,
    "num_layers": 6,
    "num_attention_heads": 4,
    "attention_head_dim": 32,
    "joint_attention_dim": 128,
    "caption_projection_dim": 128,
    "pooled_projection_dim": 128,
    "pos_embed_max_size": 12,
    "dual_attention_layers": (),
    "qk_norm": "rms_norm",
}
"""Five equal blocks and a last one that differs, so that the plan takes two of them out."""
WIDE: Mapping[str, Any] = {
    **SMALL,
    "num_attention_heads": 32,
    "attention_head_dim": 64,
    "caption_projection_dim": 2048,
    "sample_size": 64,
    "pos_embed_max_size": 128,
}
_MODEL: Mapping[str, Any] = {"pretrained": "x", "dtype": "bf16", "max_sequence_length": 8}
CONTRACTED = GradientCase(rewards=2, kind="contracted", regularised=True, amortised=False)


def small_subject(**transformer: Any) -> Subject:
    """The small transformer beside the tiny model's other parts."""
    parts = folder_architecture(TINY).parts
    return Subject(SD3, Architecture("", {}, {**parts, "transformer": {**SMALL, **transformer}}))


@cache
def small_simulation(device: DeviceKind = "cpu") -> Simulation:
    """Of the small transformer; what one test has measured, the next needn't."""
    return Simulation(small_subject(), device)


@cache
def wide_simulation() -> Simulation:
    """Half a billion parameters: on fake tensors size costs nothing."""
    return Simulation(small_subject(**WIDE), "cpu")


def model_of(**table: Any) -> ModelSettings:
    """A ``[model]`` table in bf16."""
    return ModelSettings.model_validate({**_MODEL, **table})


def recipe_of(*overrides: str, **tables: dict[str, Any]) -> Recipe:
    """Two rewards, one source, six images a step; overrides are as ``--set`` takes them."""
    small = {"resolution": RESOLUTION, "steps": 4, "group_size": 3, "prompts_per_step": 2}
    table: dict[str, dict[str, Any]] = {
        "model": dict(_MODEL),
        "prompts": {"scenes": {"train": "x.txt"}},
        "rewards": {"a": {}, "b": {}},
        "sampling": {**small, "batch_size": 3},
        "training": {"steps": 1, "micro_batch_size": 4, "noise_levels": 2},
        "measure": {},
    }
    for name, more in tables.items():
        table.setdefault(name, {}).update(more)
    for override in overrides:
        key, value = override.split("=")
        *home, name = key.split(".")
        place = table
        for part in home:
            place = place.setdefault(part, {})
        place[name] = {"true": True, "false": False}.get(value, value)
    return Recipe.model_validate(_numbers(table))


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _numbers(each) for key, each in value.items()}
    return int(value) if isinstance(value, str) and value.isdigit() else value


def real_policies(case: ModelCase, shards: Shards = UNSHARDED) -> Policies:
    """Policies on real tensors, with an old policy that differs from the trained one."""
    torch.manual_seed(0)
    network = build_part("transformer", case.subject.architecture.parts["transformer"])
    if case.model.mode == "lora":
        nn.Module.to(network, DTYPES[case.model.dtype])
    policies = make_policies(case.subject.family, network, case.model, shards)
    policies.blend_old(0.5)
    return policies


def real_frozen(subject: Subject, model: ModelSettings) -> FrozenParts:
    """What encodes and decodes, on real tensors that are drawn at random."""
    drawn = model.model_copy(update={"random_weights": True})
    return subject.family.load(LoadRequest(drawn, subject.architecture)).frozen


def real_batch(
    case: ModelCase, passes: GradientCase, images: int, levels: int = 1
) -> TrainingBatch:
    """Images at some noise levels each."""
    each = (images, passes.rewards)
    return TrainingBatch(
        latents=torch.randn(images, *case.subject.latent_shape(case.resolution)),
        conditioning=case.conditioning(images),
        levels=torch.rand(images, levels),
        advantages=torch.randn(each),
        optimality=torch.rand(each),
        shares=torch.rand(each),
        halves=torch.arange(images)[:, None].expand(images, levels) % 2 == 0,
        noise_seed=(0, 1),
    )


def loss_settings(passes: GradientCase, size: int) -> LossSettings:
    """Those of a micro-batch of ``size`` images."""
    kl_weight = 1e-4 if passes.regularised else 0.0
    return LossSettings(mix=0.1, advantage_clip=5.0, kl_weight=kl_weight, micro_batch_size=size)


@dataclass(frozen=True)
class Held:
    """Bytes that real passes held, beside the weights."""

    step: int
    """A micro-batch's gradients at the most, beside the accumulators."""
    accumulators: int
    sampling: int
    """A pass of the policy that samples, at the most."""


def real_passes(
    case: ModelCase, passes: GradientCase, rows: int, shards: Shards = UNSHARDED
) -> Held:
    """Make the passes that the plan simulates, on real tensors."""
    policies, batch = real_policies(case, shards), real_batch(case, passes, rows)
    inputs = (batch.latents, batch.levels[:, 0], batch.conditioning)
    with torch.no_grad():
        for name in ("trained", "old", "reference"):
            # The first pass of sharded weights makes buffers that stay.
            policies.velocity(name, *inputs)
    find = contracted_gradients if passes.kind == "contracted" else reward_gradients
    with uncollected():
        with LiveBytes() as live:
            made = find(policies, batch, loss_settings(passes, rows))
            accumulators = bytes_of(list(made.tensors()))
        del made
        with LiveBytes() as sampling, torch.no_grad():
            policies.velocity("old", *inputs)
    return Held(live.peak - accumulators, accumulators, sampling.peak)


def bytes_of(tensors: list[torch.Tensor]) -> int:
    """Of their memory, which views share."""
    storages = {x.untyped_storage()._cdata: x.untyped_storage().nbytes() for x in tensors}
    return sum(storages.values())


@contextmanager
def uncollected() -> Iterator[None]:
    """Inside, garbage isn't collected: it would be at a moment that no count can foresee."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
