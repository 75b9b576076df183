"""The cost of balancing: ``python benchmarks/step_cost.py [--rounds N] [--json OUT]``.

A Stable Diffusion 3 transformer of a chosen size with random weights, its LoRA policies, and a
batch of random latents with random rewards. The variants make an update in turn, in one process.
It prints the median seconds, the peak memory, and speeds relative to ``single, as published`` (one
reward, three forward passes and one backward pass for each micro-batch). Speeds are medians over
rounds, beside those that are predicted by counting passes. Without a GPU, seconds are the process's
own time, which doesn't include other work on the machine, and memory is counted tensor by tensor.

A whole step also has the rollout: ``--sampler-steps`` forward passes for each image, against
``--noise-levels`` trained rows, measured on the same batch. Rewards, decoding and text encoders are
the same for all variants, and are left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from marblecli.models.quiet import quiet_libraries

if __name__ == "__main__":
    # The imports below load the libraries that this quiets.
    quiet_libraries()

import numpy as np
import torch
from diffusers import SD3Transformer2DModel
from rich.console import Console
from rich.table import Table

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


@dataclass(frozen=True)
class Row:
    """One variant's figures."""

    variant: str
    seconds: float
    predicted_speed: float
    update_speed: float
    """The median over rounds of the baseline's seconds over the variant's in the same round."""
    step_speed: float
    """The same of a whole step, with the rollout."""
    peak_memory: float
    """As a share of the baseline's; weights and optimizer are included."""


def main() -> None:
    """Parse, measure, print."""
    options = _parse()
    shape = Shape(
        layers=options.layers,
        width=options.width,
        rank=options.rank,
        side=options.side,
        text_tokens=options.text_tokens,
        images=options.images,
        noise_levels=options.noise_levels,
        micro_batch_size=options.micro_batch_size,
        bf16=options.bf16,
    )
    bench = make_bench(shape, torch.device(options.device))
    variants = make_variants(bench, options.pull_share)
    # The optimizer makes its averages in its first step.
    variants[BASELINE].update()
    memory = {name: _peak(variant) + _resident(bench) for name, variant in variants.items()}
    seconds = _measure(variants, options.rounds)
    forward, backward = _pass_seconds(bench)
    rollout = forward * options.sampler_steps / options.noise_levels
    rows = _rows(variants, seconds, memory, backward / forward, options.pull_share, rollout)
    _show(rows, forward, backward)
    if options.json is not None:
        document = {
            "shape": asdict(shape),
            "pull_share": options.pull_share,
            "forward_seconds": forward,
            "backward_seconds": backward,
            "rows": [asdict(row) for row in rows],
        }
        options.json.write_text(json.dumps(document, indent=2))


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
        batch=_batch(shape, device),
        settings=LossSettings(
            mix=0.1, advantage_clip=5.0, kl_weight=1e-4, micro_batch_size=shape.micro_batch_size
        ),
    ).with_rewards(1)


def _batch(shape: Shape, device: torch.device) -> TrainingBatch:
    images = shape.images
    levels = torch.linspace(0.1, 0.95, shape.noise_levels).expand(images, -1)
    return TrainingBatch(
        latents=torch.randn(images, _CHANNELS, shape.side, shape.side, device=device),
        conditioning=Conditioning(
            {
                "context": torch.randn(images, shape.text_tokens, shape.width, device=device),
                "pooled": torch.randn(images, shape.width, device=device),
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


def _measure(variants: Mapping[str, Variant], rounds: int) -> dict[str, list[float]]:
    """The seconds of each variant, by round."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, variant in variants.items():
            started = now()
            variant.update()
            seconds[name].append(now() - started)
    return seconds


def _peak(variant: Variant) -> int:
    """The most bytes that an update allocates at a time."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        there = torch.cuda.memory_allocated()
        variant.update()
        return torch.cuda.max_memory_allocated() - there
    with LiveBytes() as live:
        variant.update()
    return live.peak


def _resident(bench: Bench) -> int:
    """The bytes of the weights and of the optimizer's averages."""
    network = bench.policies.network("trained")
    averages = (t for entry in bench.optimizer.state.values() for t in entry.values())
    return sum(t.nbytes for t in (*network.parameters(), *network.buffers(), *averages))


def _pass_seconds(bench: Bench) -> tuple[float, float]:
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


def _rows(
    variants: Mapping[str, Variant],
    seconds: Mapping[str, Sequence[float]],
    memory: Mapping[str, int],
    backward: float,
    share: float,
    rollout: float,
) -> list[Row]:
    base = seconds[BASELINE]
    expected = variants[BASELINE].passes(backward, share)
    return [
        Row(
            variant=name,
            seconds=statistics.median(seconds[name]),
            predicted_speed=expected / variant.passes(backward, share),
            update_speed=_speed(base, seconds[name]),
            step_speed=_speed([s + rollout for s in base], [s + rollout for s in seconds[name]]),
            peak_memory=memory[name] / memory[BASELINE],
        )
        for name, variant in variants.items()
    ]


def _speed(base: Sequence[float], seconds: Sequence[float]) -> float:
    return statistics.median(one / other for one, other in zip(base, seconds, strict=True))


def _show(rows: list[Row], forward: float, backward: float) -> None:
    title = f"One update; a forward pass takes {forward:.2f} s, a backward {backward:.2f} s"
    table = Table(title=title)
    table.add_column("variant")
    for column in ("seconds", "predicted", "update speed", "with rollout", "peak memory"):
        table.add_column(column, justify="right")
    for row in rows:
        speeds = (row.predicted_speed, row.update_speed, row.step_speed)
        cells = [f"{row.seconds:.3f}", *(f"{speed:.2f}" for speed in speeds)]
        cells.append(f"{row.peak_memory:.3f}")
        table.add_row(row.variant, *cells)
    Console().print(table)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="The cost of balancing, against one reward trained as published.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--side", type=int, default=32, help="of the latents")
    parser.add_argument("--text-tokens", type=int, default=77)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--noise-levels", type=int, default=8)
    parser.add_argument("--micro-batch-size", type=int, default=4)
    parser.add_argument("--sampler-steps", type=int, default=25)
    parser.add_argument("--pull-share", "--anchor-share", type=float, default=0.125)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--bf16", action="store_true", help="frozen weights and autocast in bf16")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
