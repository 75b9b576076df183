"""Curves of one reward over steps: its change in evaluations, and its means in training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from marblecli.report.drawing import DASHES, MARKERS, QUIET, SERIES, WIDTH, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEFT, _RIGHT = 52, 60
"""CSS pixels beside the axes: for the scale, and at least for the names of the lines."""
_LETTER, _MARGIN = 6.6, 10
"""CSS pixels: the width of a letter of a name, and what is left beside it."""
_UPPER, _LOWER, _GAP, _AXIS, _TOP = 132, 62, 26, 32, 18
"""CSS pixels: the heights of the evaluations' axes and of the batches', and what is around them."""
_MOST_DOTS = 150
"""Batches that are drawn one by one; where there are more, a dot is the mean of neighbours."""
_APART = 13
"""CSS pixels between the names of two lines, at least."""


@dataclass(frozen=True)
class Point:
    """A value at a step, with the bounds of its interval; they are NaN where there is none."""

    step: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """One line of a chart."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Batches:
    """What a reward's mean was in the batches that were trained on."""

    name: str
    steps: tuple[int, ...]
    means: tuple[float, ...]


def curves(
    title: str, description: str, changes: Sequence[Line], batches: Sequence[Batches]
) -> str:
    """Draw the ``changes`` above and the ``batches`` below, on one axis of steps.

    Lines are told apart by their names, dashes and points as well as by colour.
    """
    parts = [(_UPPER, bool(changes)), (_LOWER, bool(batches))]
    shown = [height for height, there in parts if there]
    height = sum(shown) + _GAP * (len(shown) - 1) + _TOP + _AXIS
    # Where there is only step 0, the axis still needs a width.
    last = max(
        1,
        *(point.step for line in changes for point in line.points),
        *(step for each in batches for step in each.steps),
    )

    named = [line.name for line in changes] + [each.name for each in batches]
    right = max([_RIGHT, *(_MARGIN + _LETTER * len(name) for name in named)])

    def fill(figure: Figure) -> None:
        top = _TOP
        for size, there in parts:
            if not there:
                continue
            box = (_LEFT, height - top - size, WIDTH - _LEFT - right, size)
            axes = figure.add_axes(
                (box[0] / WIDTH, box[1] / height, box[2] / WIDTH, box[3] / height)
            )
            axes.grid(axis="y")
            if size == _UPPER:
                _draw_changes(axes, changes)
            else:
                _draw_batches(axes, batches)
            # All axes have the same steps, and only the last one says them.
            axes.set_xlim(-0.02 * last, 1.02 * last)
            lowest = top + size + _AXIS >= height
            axes.tick_params(length=2, labelbottom=lowest)
            axes.locator_params(axis="x", integer=True, nbins=5)
            if lowest:
                axes.set_xlabel("step", labelpad=1)
            top += size + _GAP

    return draw(height, title, description, fill)


def running_means(values: Sequence[float], window: int = 5) -> list[float]:
    """The mean of each value and those before it, ``window`` values at the most."""
    return [
        math.fsum(values[max(place - window, 0) : place]) / min(place, window)
        for place in range(1, len(values) + 1)
    ]


def apart(places: Sequence[float], least: float) -> list[float]:
    """The ``places``, moved as little as needed to be ``least`` apart; their order stays."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    groups: list[tuple[list[int], float]] = []
    for index in order:
        members, middle = [index], places[index]
        # A name that is too near to those below joins them, and all spread around their middle.
        while groups and _top(groups[-1], least) + least > middle - (len(members) - 1) * least / 2:
            others, _ = groups.pop()
            members = others + members
            middle = math.fsum(places[each] for each in members) / len(members)
        groups.append((members, middle))
    found = [0.0] * len(places)
    for members, middle in groups:
        for rank, index in enumerate(members):
            found[index] = middle + (rank - (len(members) - 1) / 2) * least
    return found


def _top(group: tuple[list[int], float], least: float) -> float:
    members, middle = group
    return middle + (len(members) - 1) * least / 2


def _draw_changes(axes: Axes, lines: Sequence[Line]) -> None:
    axes.axhline(0.0, color=QUIET, linewidth=1.0)
    for place, line in enumerate(lines):
        colour = SERIES[place % len(SERIES)]
        steps = [point.step for point in line.points]
        values = [point.value for point in line.points]
        # Bars beside each other instead of on each other.
        shift = (place - (len(lines) - 1) / 2) * 0.006 * max([*steps, 1])
        moved = [step + shift for step in steps]
        for step, point in zip(moved, line.points, strict=True):
            if not math.isnan(point.low):
                axes.plot([step, step], [point.low, point.high], color=colour, linewidth=1.1)
        axes.plot(
            moved,
            values,
            color=colour,
            linewidth=1.6,
            linestyle=DASHES[place % len(DASHES)],
            marker=MARKERS[place % len(MARKERS)],
            markersize=4.0,
        )
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:+.3g}" if abs(value) > 1e-12 else "0")
    axes.locator_params(axis="y", nbins=6)
    _say(axes, "change since the base model")
    ends = [line.points[-1].value if line.points else math.nan for line in lines]
    _name_lines(axes, _UPPER, [line.name for line in lines], ends)


def _draw_batches(axes: Axes, batches: Sequence[Batches]) -> None:
    ends = []
    for place, each in enumerate(batches):
        alone = len(batches) == 1
        colour = QUIET if alone else SERIES[place % len(SERIES)]
        steps, means = _thinned(each.steps, each.means)
        if alone:
            axes.plot(steps, means, color=QUIET, marker="o", markersize=1.6, linestyle="none")
        lines = _thinned(each.steps, running_means(each.means))
        axes.plot(*lines, color=colour, linewidth=1.3, linestyle=DASHES[place % len(DASHES)])
        ends.append(lines[1][-1])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
    axes.locator_params(axis="y", nbins=3)
    _say(axes, "mean of training batches")
    if len(batches) > 1:
        _name_lines(axes, _LOWER, [each.name for each in batches], ends)


def _thinned(steps: Sequence[int], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Both, or the means of neighbours if there are more than :data:`_MOST_DOTS`."""
    count = min(len(steps), _MOST_DOTS)
    bounds = [place * len(steps) // count for place in range(count + 1)]
    spans = [slice(*pair) for pair in pairwise(bounds)]
    return [fmean(steps[span]) for span in spans], [fmean(values[span]) for span in spans]


def _say(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=8.0, color=QUIET, pad=4, x=-0.01)
    axes.tick_params(axis="y", labelsize=8.0)


def _name_lines(axes: Axes, height: float, names: Sequence[str], ends: Sequence[float]) -> None:
    """Write each line's name at its end, so that nobody has to look it up in a legend.

    ``height`` is that of the axes in CSS pixels.
    """
    low, high = axes.get_ylim()
    scale = height / (high - low)
    there = [place for place, end in enumerate(ends) if not math.isnan(end)]
    places = apart([(ends[place] - low) * scale for place in there], _APART)
    for index, place in zip(there, np.clip(places, 4.0, None).tolist(), strict=True):
        colour = SERIES[index % len(SERIES)]
        axes.text(
            1.03,
            place / height,
            names[index],
            transform=axes.transAxes,
            color=colour,
            va="center",
            fontsize=8.5,
        )
