"""Updates of a frozen batch in several ways, to compare what they cost.

A Stable Diffusion 3 transformer with random weights, its LoRA policies, and a batch of random
latents with random rewards. The variants step by a learning rate of 0, so that all have the same
weights.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from diffusers import SD3Transformer2DModel

from marblecli.maths.gram import gradient_stats, gram_matrix, whole_gram
from marblecli.methods.schedule import combine
from marblecli.models.conditioning import Conditioning
from marblecli.models.lora_policies import LoraPolicies
from marblecli.models.sd3.family import SD3
from marblecli.planning.live_bytes import LiveBytes
from marblecli.settings import LoraSettings
from marblecli.train.batch import LossSettings, TrainingBatch
from marblecli.train.gradients.plain import amortised_backward, reward_gradients
from marblecli.train.gradients.reward_gradients import RewardGradients, contracted_gradients
from stopwatch import now

_HEAD = 64
_CHANNELS = 16
BASELINE = "single, as published"


@dataclass(frozen=True)
class Shape:
    """The sizes of the model and of a batch."""

    layers: int
    width: int
    rank: int
    side: int
    """Height and width of the latents; there are (side / 2)² image tokens."""
    text_tokens: int
    images: int
    noise_levels: int
    micro_batch_size: int
    bf16: bool


@dataclass(frozen=True)
class Variant:
    """A way to make one update."""

    update: Callable[[], None]
    passes: Callable[[float, float], float]
    """The predicted cost of a row in forward passes, from the cost b of a backward pass (in forward
    passes, too) and the share of micro-batches that compute the pull."""


@dataclass(frozen=True)
class Bench:
    """A model, a batch for it, and the constants of the loss."""

    policies: LoraPolicies
    optimizer: torch.optim.Optimizer
    batch: TrainingBatch
    settings: LossSettings

    def with_rewards(self, count: int) -> Bench:
        """The same images with ``count`` random rewards."""
        generator = torch.Generator().manual_seed(count)
        images, device = len(self.batch.latents), self.batch.latents.device
        optimality = torch.rand(images, count, generator=generator).to(device)
        shares = torch.full_like(optimality, 1 / images)
        batch = replace(self.batch, optimality=optimality, shares=shares, advantages=optimality)
        return replace(self, batch=batch)


def make_bench(shape: Shape, device: torch.device) -> Bench:
    """Random weights and a random batch. The trained and the old policy differ a little."""
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=shape.side,
        patch_size=2,
        in_channels=_CHANNELS,
        out_channels=_CHANNELS,
        num_layers=shape.layers,
        attention_head_dim=_HEAD,
        num_attention_heads=shape.width // _HEAD,
        joint_attention_dim=shape.width,
        caption_projection_dim=shape.width,
        pooled_projection_dim=shape.width,
        pos_embed_max_size=shape.side,
        qk_norm="rms_norm",
    )
    return bench_of(transformer, shape, device)


def bench_of(transformer: SD3Transformer2DModel, shape: Shape, device: torch.device) -> Bench:
    """The same for a transformer of one's own; ``layers`` and ``width`` aren't used."""
    dtype = torch.bfloat16 if shape.bf16 else torch.float32
    settings = LoraSettings(rank=shape.rank, alpha=2 * shape.rank)
    policies = LoraPolicies(SD3, transformer.to(device, dtype), settings, dtype)
    with torch.no_grad():
        for parameter in policies.trained_parameters().values():
            parameter.add_(1e-3 * torch.randn_like(parameter))
    parameters = list(policies.trained_parameters().values())
    return Bench(
        policies=policies,
        optimizer=torch.optim.AdamW(parameters, lr=0.0),
        batch=_batch(shape, transformer.config, device),
        settings=LossSettings(
            mix=0.1, advantage_clip=5.0, kl_weight=1e-4, micro_batch_size=shape.micro_batch_size
        ),
    ).with_rewards(1)


def _batch(shape: Shape, config: Any, device: torch.device) -> TrainingBatch:
    images = shape.images
    levels = torch.linspace(0.1, 0.95, shape.noise_levels).expand(images, -1)
    return TrainingBatch(
        latents=torch.randn(images, config.in_channels, shape.side, shape.side, device=device),
        conditioning=Conditioning(
            {
                "context": torch.randn(
                    images, shape.text_tokens, config.joint_attention_dim, device=device
                ),
                "pooled": torch.randn(images, config.pooled_projection_dim, device=device),
            }
        ),
        levels=levels.to(device),
        advantages=torch.zeros(images, 1, device=device),
        optimality=torch.zeros(images, 1, device=device),
        shares=torch.zeros(images, 1, device=device),
        halves=(torch.arange(images, device=device) % 2 == 1)[:, None].expand(levels.shape),
        noise_seed=(0, 1),
    )


def make_variants(bench: Bench, share: float) -> dict[str, Variant]:
    """The variants by name; the first is the baseline."""
    one, five = bench.with_rewards(1), bench.with_rewards(5)
    variants = {
        BASELINE: Variant(partial(_amortised, one), lambda b, _: 3 + b),
        "amortised, K = 5": Variant(partial(_amortised, five), lambda b, _: 3 + b),
        "K + 1 backward passes, K = 5": Variant(partial(_backward, five), lambda b, _: 3 + 6 * b),
        "contracted, K = 5": Variant(partial(_contracted, five, 1.0), lambda b, _: 3 + 3 * b),
        "single, sparse pull": Variant(partial(_contracted, one, share), _sparse),
    }
    whole = partial(_contracted, five, share, parts=False)
    variants["contracted, sparse pull, K = 5, no parts"] = Variant(whole, _sparse)
    for count in (2, 5, 10, 20):
        update = partial(_contracted, bench.with_rewards(count), share)
        variants[f"contracted, sparse pull, K = {count}"] = Variant(update, _sparse)
    return variants


def _sparse(backward: float, share: float) -> float:
    return 2 + share + backward * (1 + 2 * share)


def _amortised(bench: Bench) -> None:
    """An update with known coefficients: one backward pass for each micro-batch."""
    coefficients = torch.ones(bench.batch.optimality.shape[1])
    amortised_backward(bench.policies, bench.batch, bench.settings, coefficients)
    _step(bench)


def _contracted(bench: Bench, pull_share: float, *, parts: bool = True) -> None:
    found = contracted_gradients(
        bench.policies, bench.batch, bench.settings, pull_share, parts=parts
    )
    _balanced(bench, found)


def _backward(bench: Bench) -> None:
    _balanced(bench, reward_gradients(bench.policies, bench.batch, bench.settings))


def _balanced(bench: Bench, gradients: RewardGradients) -> None:
    gram = gram_matrix(block.flatten(0, 1) for block in gradients.blocks)
    count = bench.batch.optimality.shape[1]
    names = [str(k) for k in range(count)]
    stats = gradient_stats(names, whole_gram(gram, count), [1] * count)
    chosen = combine(stats, "marble", np.ones(count))
    direction = gradients.combine(torch.from_numpy(chosen.coefficients))
    parameters = bench.policies.trained_parameters().values()
    for parameter, gradient in zip(parameters, direction, strict=True):
        parameter.grad = gradient
    _step(bench)


def _step(bench: Bench) -> None:
    """Clip, and step with a learning rate of 0, so that all variants have the same weights."""
    torch.nn.utils.clip_grad_norm_(bench.policies.trained_parameters().values(), 1.0)
    bench.optimizer.step()
    bench.optimizer.zero_grad(set_to_none=True)


def peak(variant: Variant) -> int:
    """The most bytes that an update allocates at a time."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        there = torch.cuda.memory_allocated()
        variant.update()
        return torch.cuda.max_memory_allocated() - there
    with LiveBytes() as live:
        variant.update()
    return live.peak


def resident(bench: Bench) -> int:
    """The bytes of the weights and of the optimizer's averages."""
    network = bench.policies.network("trained")
    averages = (t for entry in bench.optimizer.state.values() for t in entry.values())
    return sum(t.nbytes for t in (*network.parameters(), *network.buffers(), *averages))


def pass_seconds(bench: Bench) -> tuple[float, float]:
    """The seconds of a forward pass without gradients, and of a backward pass, over all rows."""
    forward, backward = [], []
    for _ in range(3):
        times = [0.0, 0.0]
        for rows in bench.batch.rows(bench.settings.micro_batch_size):
            inputs = (rows.latents, rows.levels, rows.conditioning)
            started = now()
            bench.policies.velocity("old", *inputs)
            times[0] += now() - started
            velocity = bench.policies.velocity("trained", *inputs)
            started = now()
            velocity.sum().backward()
            times[1] += now() - started
        bench.optimizer.zero_grad(set_to_none=True)
        forward.append(times[0])
        backward.append(times[1])
    return statistics.median(forward), statistics.median(backward)
