"""The memory plan of a run, for ``--dry-run``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from rich.table import Table

from marblecli.cli.setup import Plan
from marblecli.errors import BadInputError
from marblecli.models.architectures import Architecture, UnreadableConfigError
from marblecli.models.family import Family
from marblecli.planning.advice import Advice, advise, largest_micro_batch
from marblecli.planning.memory import count_memory
from marblecli.planning.plan import GIB, PHASES, Item, MemoryPlan, RewardWeights
from marblecli.planning.simulation import Simulation
from marblecli.planning.subject import Subject
from marblecli.report.render import out
from marblecli.rewards.spec import HubFiles
from marblecli.settings import Recipe

_ELSEWHERE = ("cpu", "mps")
_DRIVER = Path("/proc/driver/nvidia")
_WEIGHTS = {".safetensors", ".bin", ".pt", ".pth"}
"""Suffixes of the files that a reward's weights are in."""


def show_memory(plan: Plan, gib: float | None, processes: int = 1) -> None:
    """Print what the run takes on its device, of one process that has the whole batch.

    ``gib`` is the memory to plan for; where absent it is the CUDA device's, if there is one.
    ``processes`` share the weights where the recipe says so. Raises BadInputError, with what to
    change, for a recipe that doesn't fit.
    """
    if isinstance(plan.architecture, UnreadableConfigError):
        out.print(f"memory: not counted: {plan.architecture}", soft_wrap=True, markup=False)
        return
    simulation, rewards = simulation_of(plan.family, plan.architecture), reward_weights(plan)
    counted = count_memory(plan.recipe, simulation, rewards, processes)
    out.print(_table(counted))
    limit = device_memory() if gib is None else round(gib * GIB)

    def largest() -> int:
        return largest_micro_batch(plan.recipe, simulation, rewards, limit or 0)

    for line in _notes(plan.recipe, counted, limit, largest):
        out.print(line, soft_wrap=True, markup=False)
    if limit is not None and counted.excess(limit):
        advice = advise(plan.recipe, simulation, rewards, limit, processes)
        raise BadInputError(_refusal(counted, limit, advice))


def simulation_of(family: Family, architecture: Architecture) -> Simulation:
    """The model's passes on fake tensors; what was measured once is remembered."""
    return _simulation(family, json.dumps(architecture.parts))


@lru_cache(maxsize=4)
def _simulation(family: Family, parts: str) -> Simulation:
    return Simulation(Subject(family, Architecture("", {}, json.loads(parts))))


def device_memory() -> int | None:
    """Bytes of the first CUDA device; torch is asked only where there is a driver."""
    if not _DRIVER.exists() and shutil.which("nvidia-smi") is None:
        return None
    import torch

    if not torch.cuda.is_available():
        return None
    return int(torch.cuda.get_device_properties(0).total_memory)


def reward_weights(plan: Plan) -> dict[str, RewardWeights]:
    """Of the rewards that score where the model is trained.

    The sizes are those of the files that a reward declares, where the hub's cache has them.
    """
    found = {}
    for name, entry in plan.recipe.all_rewards.items():
        if entry.device in _ELSEWHERE:
            continue
        options = plan.catalog.validate(name, entry.options)
        files = plan.catalog.get(name).spec.files(options)
        found[name] = RewardWeights(_bytes(files), entry.device == "offload")
    return found


def _bytes(files: tuple[HubFiles, ...]) -> int | None:
    """Nothing declared is nothing to load; None if some files aren't in the cache."""
    sizes = [_cached_bytes(one) for one in files]
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def _cached_bytes(files: HubFiles) -> int | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    patterns = list(files.patterns)
    try:
        folder = snapshot_download(
            files.repo, revision=files.revision, allow_patterns=patterns, local_files_only=True
        )
    except LocalEntryNotFoundError:
        return None
    weights = [path for path in Path(folder).rglob("*") if path.suffix in _WEIGHTS]
    return sum(path.stat().st_size for path in weights) or None


def _table(counted: MemoryPlan) -> Table:
    table = Table(title="memory of the device in GiB, counted, not measured")
    table.add_column("")
    for phase in PHASES:
        table.add_column(phase, justify="right")
    for item in counted.items:
        if not item.on_cpu:
            table.add_row(item.label, *_row(item))
    table.add_section()
    table.add_row("at once", *(_gib(counted.total(phase)) for phase in PHASES))
    if away := [item for item in counted.items if item.on_cpu]:
        table.add_section()
        for item in away:
            table.add_row(f"CPU: {item.label}", *_row(item))
    return table


def _row(item: Item) -> list[str]:
    return [_gib(item.bytes.get(phase, 0)) for phase in PHASES]


def _gib(count: int) -> str:
    return f"{count / GIB:.2f}" if count else ""


def _notes(
    recipe: Recipe, counted: MemoryPlan, limit: int | None, largest: Callable[[], int]
) -> list[str]:
    """What is said below the table; ``largest`` finds the largest micro-batch that fits."""
    with_it, without = counted.row, counted.row_otherwise
    if not recipe.model.gradient_checkpointing:
        with_it, without = without, with_it
    notes = [
        f"peak: {counted.total(counted.peak) / GIB:.1f} GiB, {counted.peak}"
        + ("" if limit is None else f"; the device has {limit / GIB:.1f}"),
        f"activations of an image: {without / 2**20:.0f} MiB, with gradient checkpointing "
        f"{with_it / 2**20:.0f}",
    ]
    if counted.cpu_peak:
        notes.append(
            f"in the CPU's memory instead, for each process: {counted.cpu_peak / GIB:.1f} GiB"
        )
    if recipe.training.micro_batch_size == "auto":
        notes.append(
            "micro-batches: auto, counted as one image"
            if limit is None
            else f"micro-batches: auto, counted as one image; by this count {largest()} fit"
        )
    if counted.unknown_rewards:
        names = ", ".join(counted.unknown_rewards)
        notes.append(f"unknown, and not in these figures: the weights of {names}")
    return notes


def _refusal(counted: MemoryPlan, limit: int, advice: list[Advice]) -> str:
    needed = f"{counted.total(counted.peak) / GIB:.1f} GiB"
    lines = [f"needs {needed} ({counted.peak}), and {limit / GIB:.1f} GiB are there"]
    fits = bool(advice) and not advice[-1].plan.excess(limit)
    lines.append("it fits with, in order of effect:" if fits else "nothing makes it fit; nearest:")
    lines += [
        f"  --set {one.override}  ({one.plan.total(one.plan.peak) / GIB:.1f} GiB, {one.plan.peak})"
        for one in advice
    ]
    if not fits:
        lines.append("  a smaller model or sampling.resolution, or fewer rewards")
    return "\n".join(lines)
