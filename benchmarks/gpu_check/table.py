"""The page of all results, in the form of docs/performance.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpu_check.markdown import ABSENT, gib, number, table
from gpu_check.parts import PARTS
from gpu_check.results import DONE, FAILED, RUNNING, Result
from gpu_check.step_tables import memory_table, notes, step_table

_REHEARSAL = (
    "**This is a rehearsal on a CPU at a tiny size: no figure below says anything about a GPU.** "
    "Memory is the process's resident memory."
)


_STATES = {RUNNING: "not finished", DONE: "done", FAILED: "failed"}


def page(results: Sequence[Result]) -> str:
    """All tables, in Markdown; made from the results alone."""
    by_name = {result.part: result for result in results}
    blocks = [_heading(results), _parts(by_name)]
    if any(result.figures.get("images") for result in results):
        blocks += ["**Whole steps.**", step_table(results)]
        blocks += ["**Memory, the plan's beside the measured.**", memory_table(results)]
        blocks += notes(results)
    if (gradients := by_name.get("gradients")) and gradients.figures:
        blocks += ["**Gradients.**", _gradients(gradients.figures)]
        blocks += _cosines(gradients.figures)
    if (updates := by_name.get("updates")) and "variants" in updates.figures:
        blocks += ["**Updates of a frozen batch.**", _updates(updates.figures)]
        blocks += _compiled(updates.figures)
    return "\n\n".join(blocks)


def _heading(results: Sequence[Result]) -> str:
    seen = dict.fromkeys(_where(result) for result in results if result.environment)
    lines = ["; ".join(seen) or "nothing was measured yet"]
    if any(result.rehearsal for result in results):
        lines.insert(0, _REHEARSAL)
    return "\n\n".join(lines)


def _where(result: Result) -> str:
    known = result.environment
    card = f", {gib(known['card'])} GiB" if known.get("card") else ""
    return f"{known['device']}{card}, torch {known['torch']}"


def _parts(by_name: Mapping[str, Result]) -> str:
    rows = []
    for part in PARTS:
        result = by_name.get(part.name)
        if result is None:
            rows.append([f"`{part.name}`: {part.answers}", "not run", ABSENT])
            continue
        state = _STATES[result.state] + (f": {result.reason}" if result.reason else "")
        if part.name == "tests" and result.state == DONE:
            state = f"{len(result.figures['passed'])} passed"
            state += f", {len(result.figures['skipped'])} skipped"
        rows.append([f"`{part.name}`: {part.answers}", state, number(result.seconds, 0)])
    return table(["part", "result", "seconds"], rows)


def _gradients(figures: Mapping[str, Any]) -> str:
    rows = [
        [
            name,
            f"{min(found['cosines']):.6f}",
            f"{max(found['relative_difference']):.2e}",
        ]
        for name, found in figures.items()
        if isinstance(found, dict)
    ]
    head = ["compared, of K rewards", "least cosine", "largest relative difference"]
    return table(head, rows)


def _cosines(figures: Mapping[str, Any]) -> list[str]:
    change = figures.get("largest change of such a cosine")
    if change is None:
        return []
    return [f"bf16 changes a cosine between two rewards' gradients by at most {change:.1e}."]


def _updates(figures: Mapping[str, Any]) -> str:
    again = figures.get("checkpointed", {})
    rows = [
        [
            name,
            number(found["seconds"], 3),
            gib(found["peak"]),
            number(again[name]["seconds"], 3) if name in again else ABSENT,
            gib(again[name]["peak"]) if name in again else ABSENT,
        ]
        for name, found in figures["variants"].items()
    ]
    head = ["update", "seconds", "GiB", "checkpointed, seconds", "checkpointed, GiB"]
    return table(head, rows)


def _compiled(figures: Mapping[str, Any]) -> list[str]:
    lines = [
        f"For {figures['rows']} rows, a forward pass takes {figures['forward_seconds']:.3f} s and "
        f"a backward pass {figures['backward_seconds']:.3f} s."
    ]
    if "compiled_pass_seconds" in figures:
        rows = [
            [
                f"{name} policy",
                number(figures["eager_pass_seconds"][name], 4),
                number(seconds, 4),
                number(figures["compiling_seconds"][name], 1),
            ]
            for name, seconds in figures["compiled_pass_seconds"].items()
        ]
        head = ["a pass of a micro-batch, seconds", "as written", "compiled", "the first one"]
        lines.append(table(head, rows))
    return lines
