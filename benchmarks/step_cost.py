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
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from marblecli.models.quiet import quiet_libraries

if __name__ == "__main__":
    # The imports below load the libraries that this quiets.
    quiet_libraries()

import torch
from rich.console import Console
from rich.table import Table

from stopwatch import now
from update_variants import (
    BASELINE,
    Shape,
    Variant,
    make_bench,
    make_variants,
    pass_seconds,
    peak,
    resident,
)


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
    memory = {name: peak(variant) + resident(bench) for name, variant in variants.items()}
    seconds = _measure(variants, options.rounds)
    forward, backward = pass_seconds(bench)
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


def _measure(variants: Mapping[str, Variant], rounds: int) -> dict[str, list[float]]:
    """The seconds of each variant, by round."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, variant in variants.items():
            started = now()
            variant.update()
            seconds[name].append(now() - started)
    return seconds


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
