"""The tables of whole steps: seconds, passes, images a second; memory beside the plan."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gpu_check.markdown import ABSENT, gib, number, table
from gpu_check.results import Result

_TITLES = {
    "published": "published",
    "published-geometry": "here, published geometry",
    "ours": "here",
    "one-reward": "here, one reward",
    "capped": "24 GB",
    "full": "full",
    "offload": "full, offloaded",
}
_BASELINE = "published"
_PHASES = ("prompts", "sampling", "decoding", "gradients", "update")
_Figures = Mapping[str, Any]


def step_table(results: Sequence[Result]) -> str:
    """Whole steps side by side."""
    found = _measured(results)
    base = found.get(_BASELINE, {}).get("images_per_second")
    stages = dict.fromkeys(name for one in found.values() for name in one.get("stages", {}))
    rows = [
        _row("images of a step", found, lambda f: str(f["images"])),
        _row("sampler steps, noise levels", found, _geometry),
        _row("rewards", found, lambda f: str(f["rewards"])),
        _row("forward passes of an image", found, _forward),
        _row("backward passes of an image", found, lambda f: number(f["passes"].get("backward"))),
        _row("seconds of a step", found, lambda f: number(statistics.median(f["seconds"]))),
        _row("images a second", found, lambda f: number(f["images_per_second"], 3)),
        _row("speed", found, lambda f: number(f["images_per_second"] / base if base else None)),
        _row("share of the best operations a second", found, _share),
        _row("seconds to open it", found, lambda f: number(f["open_seconds"], 1)),
        *(
            _row(f"{name}, s", found, lambda f, name=name: number(f["stages"].get(name)))
            for name in stages
        ),
    ]
    return table(["", *(_TITLES[name] for name in found)], rows)


def memory_table(results: Sequence[Result]) -> str:
    """The plan's GiB and the measured ones, at the peak and by phase."""
    rows = []
    for name, figures in _measured(results).items():
        if "allocated" not in figures:
            continue
        plan, peaks = figures.get("plan", {}), figures["peaks"]
        planned = plan.get("phases", {})
        # The plan counts CUDA's own, which no peak of tensors has.
        whole = figures["reserved"] + figures["outside"]
        rows.append(
            [
                _TITLES[name],
                gib(plan.get("peak")),
                gib(figures["allocated"]),
                gib(whole),
                gib(figures.get("cap")),
                *(f"{gib(planned.get(each))} / {gib(peaks.get(each))}" for each in _PHASES),
            ]
        )
    phases = [f"{name}: plan / tensors" for name in _PHASES]
    head = ["GiB", "plan", "tensors", "with CUDA's own", "cap", *phases]
    return table(head, rows)


def notes(results: Sequence[Result]) -> list[str]:
    """What the tables can't show."""
    found = _measured(results)
    lines = []
    if "capped" in found and "micro_batch_size" in found["capped"]:
        size = found["capped"]["micro_batch_size"]
        lines.append(f"Under the cap of 24 GB, micro-batches ended at {size} images.")
    for name in ("full", "offload"):
        if name in found and "changes" in found[name]:
            changes = found[name]["changes"]
            text = ", ".join(f"{key} = {value}" for key, value in changes.items())
            rewards = found[name].get("rewards", ABSENT)
            lines.append(
                f"{_TITLES[name]}: rewards: {rewards}; changes so that it fits: {text or 'none'}."
            )
            lines.append(
                f"{_TITLES[name]}: the plan has {gib(found[name]['plan']['cpu'])} GiB in the CPU's "
                "memory."
            )
    return lines


def _measured(results: Sequence[Result]) -> dict[str, _Figures]:
    """Those that are of whole steps, in the order of the table."""
    by_name = {result.part: result.figures for result in results}
    return {name: by_name[name] for name in _TITLES if by_name.get(name)}


def _row(title: str, found: Mapping[str, _Figures], cell: Callable[[_Figures], str]) -> list[str]:
    """Figures that a part never came to are absent."""
    cells = []
    for figures in found.values():
        try:
            cells.append(cell(figures))
        except KeyError:
            cells.append(ABSENT)
    return [title, *cells]


def _geometry(figures: _Figures) -> str:
    return f"{figures['sampler_steps']}, {figures['noise_levels']}"


def _forward(figures: _Figures) -> str:
    return number(sum(n for name, n in figures["passes"].items() if name != "backward"))


def _share(figures: _Figures) -> str:
    speed = figures["operations"] / statistics.median(figures["seconds"])
    return number(speed / figures["best_operations_per_second"])
