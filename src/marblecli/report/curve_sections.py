"""The reward curves of one run, and those of several runs in the same charts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from marblecli.report.cells import signed
from marblecli.report.curves import Batches, Line, Point, curves
from marblecli.report.evaluated import Changes
from marblecli.report.page import Chart, Section
from marblecli.report.run_data import RunData
from marblecli.report.run_tables import curve_table
from marblecli.types import Json

_NAMES = {"held-out": "held-out", "train": "training"}
_ORDER = ("held-out", "train")


def curve_section(run: RunData, by_step: Mapping[int, Changes]) -> Section | None:
    """A chart for each reward: its change in evaluations, and its mean in every batch."""
    splits = _splits(by_step)
    charts = []
    for reward in run.rewards:
        lines = [_line(_NAMES.get(split, split), reward, split, by_step) for split in splits]
        batches = _batches("batches", reward, run.metrics)
        chart = _chart(reward, [line for line in lines if len(line.points) > 1], batches)
        if chart is not None:
            charts.append(chart)
    if not charts:
        return None
    return Section(
        "Reward curves",
        "Above: the change of the mean score since the base model, on the same prompts from the "
        "same noise; the bars are 95 % intervals of that change, so a bar that doesn't reach 0 is "
        "a significant change. Below: the mean score of every training batch (dots) and the mean "
        "of the last five (line); batches are of other prompts each time.",
        charts=tuple(charts),
        folded_tables=tuple(
            curve_table(split, {step: found.get(split, ()) for step, found in by_step.items()})
            for split in splits
        ),
    )


def comparison_section(
    runs: Sequence[tuple[str, RunData, Mapping[int, Changes]]], split: str
) -> Section | None:
    """A chart for each reward with a line for each run, which are given by their short names."""
    rewards = dict.fromkeys(reward for _, run, _ in runs for reward in run.rewards)
    charts = []
    for reward in rewards:
        lines = [_line(name, reward, split, by_step) for name, _, by_step in runs]
        batches = [each for name, run, _ in runs for each in _batches(name, reward, run.metrics)]
        chart = _chart(reward, [line for line in lines if len(line.points) > 1], batches)
        if chart is not None:
            charts.append(chart)
    if not charts:
        return None
    where = {"train": "training"}.get(split, split)
    return Section(
        "Reward curves of all runs",
        f"Above: the change of the mean score since the base model on {where} prompts; the bars "
        "are 95 % intervals. Below: the mean score of the training batches, over the last five.",
        charts=tuple(charts),
    )


def _splits(by_step: Mapping[int, Changes]) -> tuple[str, ...]:
    found = dict.fromkeys(split for changes in by_step.values() for split in changes)
    return tuple(sorted(found, key=lambda split: (split not in _ORDER, split)))


def _line(name: str, reward: str, split: str, by_step: Mapping[int, Changes]) -> Line:
    """From the base model, which hasn't changed, to the last evaluation."""
    points = [Point(0, 0.0, math.nan, math.nan)]
    for step, changes in by_step.items():
        for change in changes.get(split, ()):
            if change.reward == reward and not math.isnan(change.end):
                points.append(Point(step, change.end - change.start, change.low, change.high))
    return Line(name, tuple(points))


def _batches(name: str, reward: str, metrics: Sequence[Mapping[str, Json]]) -> list[Batches]:
    found = [
        (line["step"], line["rewards"][reward])
        for line in metrics
        if line.get("rewards", {}).get(reward) is not None
    ]
    if not found:
        return []
    steps, means = zip(*found, strict=True)
    return [Batches(name, steps, means)]


def _chart(reward: str, lines: Sequence[Line], batches: Sequence[Batches]) -> Chart | None:
    if not (lines or batches):
        return None
    ends = [f"{line.name} {_told(line.points[-1])}" for line in lines]
    drawn = curves(f"Reward {reward}", "; ".join(ends), lines, batches)
    return Chart(reward, drawn, "\n".join(ends))


def _told(point: Point) -> str:
    bounds = "" if math.isnan(point.low) else f" [{signed(point.low)}, {signed(point.high)}]"
    return f"{signed(point.value)}{bounds}"
