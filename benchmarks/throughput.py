"""The time of a step by stage, and the gain of optimisations: ``python benchmarks/throughput.py``.

Whole optimizer steps (sampling, decoding, rewards, gradients, balance, AdamW) of a Stable Diffusion
3 with random weights, on random prompts and K synthetic rewards, which are vision towers of a
chosen size. The variants take turns in one process, so that other work on the machine affects all
alike:

- ``published``: the published geometry and choices, rebuilt (benchmarks/published.py);
- ``marble``: this package with the recipe that the options make;
- ``single``: the same with one reward.

The time by stage is measured in separate rounds, which wait for the device at every stage. The
speeds are measured in rounds without that; on a CPU, by the process's own time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from marblecli.models.quiet import quiet_libraries

if __name__ == "__main__":
    # The imports below load the libraries that this quiets.
    quiet_libraries()

import torch
from rich.console import Console
from rich.table import Table

from device_memory import cap
from small_models import SMALL
from step_stages import split_step
from stopwatch import OTHER, now
from synthetic import TOWERS
from whole_steps import StepOptions, Stepper, open_marble, open_published, stepper

BASELINE = "published"


@dataclass(frozen=True)
class Options(StepOptions):
    """The command line."""

    rounds: int
    memory_cap: float | None
    json: Path | None


@dataclass
class Variant:
    """A way to make optimizer steps, and what was measured of it."""

    made: Stepper
    seconds: list[float] = field(default_factory=list)
    split: dict[str, float] = field(default_factory=dict)
    peak: int = 0
    """The most bytes in use during a step, on CUDA."""
    idle: int = 0
    """Bytes in use between steps, on CUDA."""


def main() -> None:
    """Parse the command line, and run."""
    run(_parse())


def run(options: Options) -> None:
    """Measure and print the figures; with ``--json``, also write them."""
    if options.memory_cap is not None:
        cap(options.memory_cap)
    with tempfile.TemporaryDirectory() as scratch:
        variants = dict(_variants(options, Path(scratch)))
        for _ in range(options.rounds):
            for variant in variants.values():
                _timed_step(variant, sum(v.idle for v in variants.values()))
        for variant in variants.values():
            variant.split = split_step(variant.made).seconds
    _show(variants, options.images)
    if options.json is not None:
        options.json.write_text(json.dumps(_document(options, variants), indent=2))


def _variants(options: Options, folder: Path) -> Iterator[tuple[str, Variant]]:
    """Make the variants one by one, and warm each up before the next one.

    Two steps are needed for that: the second one is the first in which the old policy runs, because
    it isn't the trained one any more.
    """
    built: list[Variant] = []
    makers: dict[str, Callable[[], Stepper]] = {
        BASELINE: lambda: open_published(options, folder),
        "marble": lambda: stepper(open_marble(options, folder, options.rewards)),
        "single": lambda: stepper(open_marble(options, folder, 1)),
    }
    for name, make in makers.items():
        variant = Variant(make())
        variant.made.step()
        variant.made.step()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            variant.idle = torch.cuda.memory_allocated() - sum(other.idle for other in built)
        built.append(variant)
        yield name, variant


def _timed_step(variant: Variant, idle: int) -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    started = now()
    variant.made.step()
    variant.seconds.append(now() - started)
    if torch.cuda.is_available():
        # The other variants are on the device, too, but don't run.
        peak = torch.cuda.max_memory_allocated() - (idle - variant.idle)
        variant.peak = max(variant.peak, peak)


def _document(options: Options, variants: Mapping[str, Variant]) -> dict[str, Any]:
    return {
        "options": {key: str(value) for key, value in asdict(options).items()},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "images_per_step": options.images,
        "variants": {
            name: {
                "seconds": variant.seconds,
                "images_per_second": options.images / statistics.median(variant.seconds),
                "split": variant.split,
                "peak_bytes": variant.peak or None,
            }
            for name, variant in variants.items()
        },
    }


def _show(variants: Mapping[str, Variant], images: int) -> None:
    table = Table(title="one optimizer step")
    table.add_column("")
    for name in variants:
        table.add_column(name, justify="right")
    medians = {name: statistics.median(v.seconds) for name, v in variants.items()}
    base = variants[BASELINE]

    def row(title: str, cell: Callable[[str], str]) -> None:
        table.add_row(title, *(cell(name) for name in variants))

    row("seconds", lambda name: f"{medians[name]:.2f}")
    row("images a second", lambda name: f"{images / medians[name]:.3f}")
    row("speed", lambda name: f"{medians[BASELINE] / medians[name]:.2f}")
    if base.peak:
        row("peak memory, GiB", lambda name: f"{variants[name].peak / 2**30:.1f}")
    stages = dict.fromkeys(stage for v in variants.values() for stage in v.split if stage != OTHER)
    table.add_section()
    for stage in (*stages, OTHER):
        row(f"{stage}, s", lambda name, stage=stage: f"{variants[name].split.get(stage, 0.0):.2f}")
    Console().print(table)


def _parse() -> Options:
    parser = argparse.ArgumentParser(
        description="Whole steps as published and as here: time split, images a second, memory.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    cuda = torch.cuda.is_available()
    parser.add_argument("--model", default=SMALL, help=f"{SMALL}, or a hub id that is shipped")
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--prompts", type=int, default=2)
    parser.add_argument("--group-size", type=int, default=4)
    parser.add_argument("--noise-levels", type=int, default=8)
    parser.add_argument("--micro-batch-size", type=int, default=4)
    parser.add_argument("--sampler-steps", type=int, default=8)
    parser.add_argument("--pull-share", "--anchor-share", type=float, default=1.0)
    parser.add_argument("--rewards", type=int, default=5)
    parser.add_argument("--tower", choices=list(TOWERS), default="small")
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="bf16" if cuda else "fp32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-cap", type=float, help="GiB that the process may use, on CUDA")
    parser.add_argument("--json", type=Path)
    return Options(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
