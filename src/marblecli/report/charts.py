"""Charts of a run's batches: rows over steps, and a matrix of cosines between rewards."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from marblecli.report.drawing import GRID, INK, NEGATIVE, POSITIVE, QUIET, SERIES, WIDTH, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    _Fill = Callable[[Axes, Sequence[float], Sequence[int]], None]
    """Draws the bars of one row: their heights, and the edges between them."""

Values = Sequence[float | None]

_MAX_CELLS = 110
"""Where there are more steps, neighbours share a cell: single ones would be too thin to see."""
_ROW, _TEXT, _AXIS = 54, 19, 20
"""CSS pixels: the height of a row with its label, of the label, and of the axis below the rows."""
_LETTER = 6.2
"""CSS pixels: the width of a letter."""
_LONGEST_LABEL = 46
"""Letters; a longer label is cut in its middle, and whole in the chart's description."""
_MOST_NUMBERS = 7
"""The most rewards with whose numbers the cells of a matrix can be labelled."""
STRONGEST = 0.5
"""The opacity of a cell of 1 or -1: letters on it can still be read."""


@dataclass(frozen=True)
class Row:
    """One row of a chart over steps."""

    label: str
    values: Values
    """One value for each step; None where the step has none."""


@dataclass(frozen=True)
class Cell:
    """One cell of a matrix."""

    value: float | None
    """In [-1, 1]; it decides the colour, and there is none for None."""
    text: str
    note: str
    """What more is known of it, such as an interval."""


def cosine_rows(title: str, rows: Sequence[Row], steps: Sequence[int]) -> str:
    """Draw a row of bars for each ``row``, from -1 to 1: up is agreement, down and hatched is
    conflict. Its mean is at the right.
    """

    def fill(axes: Axes, means: Sequence[float], edges: Sequence[int]) -> None:
        above = [value if value >= 0.0 else math.nan for value in means]
        below = [value if value < 0.0 else math.nan for value in means]
        axes.stairs(above, edges, fill=True, color=POSITIVE, linewidth=0)
        if not all(map(math.isnan, below)):
            axes.stairs(
                below, edges, fill=True, facecolor="none", edgecolor=NEGATIVE, hatch="//////"
            )
        axes.axhline(0.0, color=QUIET, linewidth=0.75)
        axes.set_ylim(-1.0, 1.0)
        axes.set_yticks([-1.0, 0.0, 1.0], ["-1", "0", "+1"], fontsize=7.5)

    return _rows(title, rows, steps, fill, "{:+.2f}")


def amount_rows(title: str, rows: Sequence[Row], steps: Sequence[int]) -> str:
    """Draw a row of bars for each ``row``, all on one scale that includes 0; the mean at the
    right.
    """
    there = [value for row in rows for value in row.values if value is not None]
    low, high = min([0.0, *there]), max([0.0, *there])
    high = high if high > low else low + 1.0

    def fill(axes: Axes, means: Sequence[float], edges: Sequence[int]) -> None:
        axes.stairs(means, edges, fill=True, color=SERIES[0], alpha=0.3, linewidth=0)
        axes.stairs(means, edges, color=SERIES[0], linewidth=1.2)
        axes.set_ylim(low, high)
        axes.set_yticks([low, high], [f"{low:.3g}", f"{high:.3g}"], fontsize=7.5)

    return _rows(title, rows, steps, fill, "{:.3g}")


def matrix(title: str, names: Sequence[str], cells: Mapping[tuple[int, int], Cell]) -> str:
    """Draw a square of cells by (row, column) of ``names``; the diagonal is framed."""
    wrapped = [wrap_name(name) for name in names]
    width = max(len(line) for name in wrapped for line in name.splitlines())
    left = min(round(_LETTER * width) + 12, WIDTH * 0.42)
    side = WIDTH - left - 4
    below = left * 0.8 + 10

    def fill(figure: Figure) -> None:
        height = side + below
        axes = figure.add_axes((left / WIDTH, below / height, side / WIDTH, side / height))
        for (row, column), cell in cells.items():
            _draw_cell(axes, row, column, cell, len(names) <= _MOST_NUMBERS)
        axes.set_xlim(0, len(names))
        axes.set_ylim(len(names), 0)
        axes.set_xticks([place + 0.5 for place in range(len(names))], wrapped, rotation=45)
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor", color=INK)
        axes.set_yticks([place + 0.5 for place in range(len(names))], wrapped, color=INK)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)

    described = "; ".join(
        f"{names[row]} and {names[column]}: {cell.text} {cell.note}".strip()
        for (row, column), cell in cells.items()
    )
    return draw(side + below, title, described, fill)


def wrap_name(name: str, longest: int = 15) -> str:
    """The name in two lines, broken behind a hyphen or a space, if it is longer than that."""
    if len(name) <= longest:
        return name
    breaks = [place + 1 for place, letter in enumerate(name[:-1]) if letter in "-_ /."]
    if not breaks:
        return name
    middle = min(breaks, key=lambda place: abs(place - len(name) / 2))
    return f"{name[:middle].rstrip()}\n{name[middle:]}"


def _draw_cell(axes: Axes, row: int, column: int, cell: Cell, numbers: bool) -> None:
    from matplotlib.patches import Rectangle

    known = cell.value is not None
    value = cell.value or 0.0
    corner = (column + 0.04, row + 0.04)
    frame = QUIET if row == column else GRID
    colour = NEGATIVE if value < 0.0 else POSITIVE
    opacity = STRONGEST * min(abs(value), 1.0)
    axes.add_patch(Rectangle(corner, 0.92, 0.92, facecolor=colour, alpha=opacity, linewidth=0))
    axes.add_patch(
        Rectangle(
            corner, 0.92, 0.92, facecolor="none", edgecolor=frame, linestyle="-" if known else ":"
        )
    )
    text = cell.text if numbers else _sign(cell.value)
    if text:
        axes.text(
            column + 0.5,
            row + 0.5,
            text,
            ha="center",
            va="center",
            fontsize=8.0,
            color=INK if known else QUIET,
            weight="bold" if known and value < 0.0 else "normal",
        )


def _sign(value: float | None) -> str:
    if value is None:
        return ""
    return "+" if value > 0.0 else "\N{MINUS SIGN}"


def _rows(title: str, rows: Sequence[Row], steps: Sequence[int], fill: _Fill, form: str) -> str:
    spans = _spans(len(steps))
    edges = list(range(len(spans) + 1))
    height = len(rows) * _ROW + _AXIS

    def paint(figure: Figure) -> None:
        for index, row in enumerate(rows):
            top = 1.0 - (index * _ROW + _TEXT) / height
            share = (_ROW - _TEXT - 5) / height
            axes = figure.add_axes((32 / WIDTH, top - share, (WIDTH - 36) / WIDTH, share))
            means = [_mean(row.values[start:end]) for start, end in spans]
            fill(axes, [math.nan if mean is None else mean for mean in means], edges)
            axes.set_xlim(0, len(spans))
            axes.set_xticks([])
            place = top + 5 / height
            figure.text(32 / WIDTH, place, _shortened(row.label), fontsize=8.5)
            figure.text(1 - 4 / WIDTH, place, _shown(_mean(row.values), form), ha="right")
        figure.text(32 / WIDTH, 5 / height, f"step {steps[0]}", color=QUIET)
        if len(steps) > 1:
            figure.text(1 - 4 / WIDTH, 5 / height, f"step {steps[-1]}", ha="right", color=QUIET)

    means = "; ".join(f"{row.label}: mean {_shown(_mean(row.values), form)}" for row in rows)
    return draw(height, title, means, paint)


def _shortened(label: str) -> str:
    if len(label) <= _LONGEST_LABEL:
        return label
    half = (_LONGEST_LABEL - 1) // 2
    return f"{label[:half]}\N{HORIZONTAL ELLIPSIS}{label[-half:]}"


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _spans(count: int) -> list[tuple[int, int]]:
    """Start and end of the steps that share a cell."""
    cells = min(count, _MAX_CELLS)
    return list(pairwise(place * count // cells for place in range(cells + 1)))


def _mean(values: Values) -> float | None:
    there = [value for value in values if value is not None]
    return math.fsum(there) / len(there) if there else None
