"""What updates of a frozen batch cost: by method, with checkpointing, and compiled."""

from __future__ import annotations

import statistics
from typing import Any

import torch

from device_memory import DeviceMemory
from gpu_check.networks import random_transformer, update_shape
from gpu_check.results import Note
from gpu_check.sizes import Sizes
from stopwatch import now
from update_variants import (
    BASELINE,
    Bench,
    Variant,
    bench_of,
    make_variants,
    pass_seconds,
)
from whole_steps import device_here

_PULL_SHARE = 0.25
_CHECKPOINTED = (BASELINE, "contracted, K = 5", "contracted, sparse pull, K = 5, no parts")
"""The variants that are measured again with checkpointing."""


def updates(sizes: Sizes, note: Note) -> None:
    """Seconds and memory of all variants, then with checkpointing, then of compiled passes."""
    shape = update_shape(sizes, sizes.updates, bf16=sizes.dtype == "bf16")
    bench = bench_of(random_transformer(sizes), shape, device_here())
    variants = make_variants(bench, _PULL_SHARE)
    # The optimizer makes its averages in its first step, and the device loads its kernels.
    variants[BASELINE].update()
    forward, backward = pass_seconds(bench)
    note({"forward_seconds": forward, "backward_seconds": backward, "rows": bench.batch.whole_rows})
    found = {}
    for name, variant in variants.items():
        found[name] = _measured(variant)
        note({"variants": dict(found)})
    bench.policies.checkpoint_blocks()
    checkpointed = {}
    for name in _CHECKPOINTED:
        checkpointed[name] = _measured(variants[name])
        note({"checkpointed": dict(checkpointed)})
    _compiled(bench, sizes.compiler, note)


def _measured(variant: Variant) -> dict[str, Any]:
    """The second of two updates; the first one loads kernels."""
    variant.update()
    memory, begun = DeviceMemory(), now()
    variant.update()
    return {"seconds": now() - begun, "peak": memory.take_peak()}


def _compiled(bench: Bench, compiler: str, note: Note) -> None:
    """Passes without gradients: before they are compiled, the first compiled one, and later."""
    rows = next(bench.batch.rows(bench.settings.micro_batch_size))
    inputs = (rows.latents, rows.levels, rows.conditioning)

    def seconds(name: str) -> float:
        begun = now()
        bench.policies.velocity(name, *inputs)
        return now() - begun

    @torch.no_grad()
    def median(name: str) -> float:
        seconds(name)
        return statistics.median(seconds(name) for _ in range(5))

    names = ("old", "reference")
    eager = {name: median(name) for name in names}
    note({"eager_pass_seconds": eager})
    bench.policies.compile_blocks(compiler)
    with torch.no_grad():
        first = {name: seconds(name) for name in names}
    note({"compiling_seconds": first})
    note({"compiled_pass_seconds": {name: median(name) for name in names}})
