"""Small charts as inline SVG, without script or network: rows over steps, and a matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

Values = Sequence[float | None]

_CHART, _NUMBERS = 520, 70
"""Widths, in pixels, of the chart and of the numbers beside it; labels take what they need."""
_LETTER, _MARGIN = 6.8, 8
_MAX_CELLS = 130
"""Where there are more steps, neighbours share a cell: single ones would be too thin to see."""
_STRIP, _LINE, _GAP, _AXIS = 18, 44, 4, 22
_CELL = 86

_CONFLICT, _NEUTRAL, _AGREEMENT = (178, 24, 43), (247, 247, 247), (33, 102, 172)
"""The ends and the middle of a colour scale that the colour-blind can read."""
_INK = "#2166ac"


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
    """In [-1, 1]; it decides the colour, which is grey for None."""
    text: str
    note: str
    """What stands below the text in smaller letters."""


def colour(value: float | None) -> str:
    """Red at -1 through nearly white at 0 to blue at 1; grey for None."""
    if value is None:
        return "#d9d9d9"
    end = _CONFLICT if value < 0.0 else _AGREEMENT
    weight = min(abs(value), 1.0)
    mixed = (round(a + weight * (b - a)) for a, b in zip(_NEUTRAL, end, strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)


def heat_strips(rows: Sequence[Row], steps: Sequence[int]) -> str:
    """Draw a strip of coloured cells for each row, and its mean at the right; values in [-1, 1]."""
    spans = _spans(len(steps))
    left, width = _label_width([row.label for row in rows]), _CHART / len(spans)
    parts = []
    for index, row in enumerate(rows):
        top = index * (_STRIP + _GAP)
        parts += _row_texts(row.label, left, top + _STRIP / 2, _signed(_mean(row.values)))
        for place, (start, end) in enumerate(spans):
            mean = _mean(row.values[start:end])
            title = f"{_span_name(steps, start, end)}: {_signed(mean)}"
            parts.append(
                f'<rect x="{left + place * width:.2f}" y="{top}" width="{width + 0.3:.2f}" '
                f'height="{_STRIP}" fill="{colour(mean)}"><title>{title}</title></rect>'
            )
    bottom = len(rows) * (_STRIP + _GAP)
    axis = _axis(steps, left, bottom, "-1 is red, 0 is white, +1 is blue")
    return _svg([*parts, *axis], left + _CHART + _NUMBERS, bottom + _AXIS)


def small_lines(rows: Sequence[Row], steps: Sequence[int]) -> str:
    """Draw a line for each row, all on one scale that includes 0, with its mean at the right."""
    spans = _spans(len(steps))
    left, width = _label_width([row.label for row in rows]), _CHART / len(spans)
    there = [value for row in rows for value in row.values if value is not None]
    low, high = min([0.0, *there]), max([0.0, *there])
    parts = []
    for index, row in enumerate(rows):
        top = index * (_LINE + _GAP)
        parts += _row_texts(row.label, left, top + _LINE / 2, _plain(_mean(row.values)))
        parts.append(
            f'<rect x="{left}" y="{top}" width="{_CHART}" height="{_LINE}" fill="#f4f4f4"/>'
        )
        means = (_mean(row.values[start:end]) for start, end in spans)
        points = [
            None
            if mean is None
            else (
                left + (place + 0.5) * width,
                top + _LINE * (high - mean) / ((high - low) or 1.0),
            )
            for place, mean in enumerate(means)
        ]
        parts += _polylines(points)
    bottom = len(rows) * (_LINE + _GAP)
    axis = _axis(steps, left, bottom, f"each row: {_plain(low)} to {_plain(high)}")
    return _svg([*parts, *axis], left + _CHART + _NUMBERS, bottom + _AXIS)


def matrix(names: Sequence[str], cells: Mapping[tuple[int, int], Cell]) -> str:
    """Draw a square of coloured cells by (row, column) of ``names``; the diagonal is framed."""
    left, bottom = _label_width(names), len(names) * _CELL
    parts = [
        _text(left - _MARGIN, row * _CELL + _CELL / 2, name, "end")
        for row, name in enumerate(names)
    ]
    for (row, column), cell in cells.items():
        x, y = left + column * _CELL, row * _CELL
        ink = "#ffffff" if cell.value is not None and abs(cell.value) > 0.6 else "#222222"
        frame = ' stroke="#888888"' if row == column else ""
        parts += [
            f'<rect x="{x + 1}" y="{y + 1}" width="{_CELL - 3}" height="{_CELL - 3}" '
            f'fill="{colour(cell.value)}"{frame}/>',
            _text(x + _CELL / 2, y + _CELL / 2 - 7, cell.text, "middle", ink),
            _text(x + _CELL / 2, y + _CELL / 2 + 11, cell.note, "middle", ink, size=10),
        ]
    for column, name in enumerate(names):
        x, y = left + (column + 0.5) * _CELL, bottom + 14
        parts.append(
            f'<text x="{x}" y="{y}" text-anchor="end" transform="rotate(-35 {x} {y})" '
            f'fill="#222222" font-size="12">{escape(name)}</text>'
        )
    # The names below lean by 35 degrees.
    return _svg(parts, left + bottom + _MARGIN, bottom + 24 + 0.6 * left)


def _label_width(labels: Sequence[str]) -> float:
    return round(_LETTER * max(map(len, labels), default=0)) + 2 * _MARGIN


def _spans(count: int) -> list[tuple[int, int]]:
    """Start and end of the steps that share a cell."""
    cells = min(count, _MAX_CELLS)
    return list(pairwise(place * count // cells for place in range(cells + 1)))


def _mean(values: Values) -> float | None:
    there = [value for value in values if value is not None]
    return math.fsum(there) / len(there) if there else None


def _span_name(steps: Sequence[int], start: int, end: int) -> str:
    last = steps[end - 1]
    return f"step {last}" if end - start == 1 else f"mean of steps {steps[start]} to {last}"


def _polylines(points: Sequence[tuple[float, float] | None]) -> list[str]:
    """Lines through the points, broken where one is missing; a lone point is a dot."""
    lines: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if point is None:
            lines.append([])
        else:
            lines[-1].append(point)
    drawn = []
    for line in lines:
        if len(line) == 1:
            x, y = line[0]
            drawn.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{_INK}"/>')
        elif line:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in line)
            drawn.append(
                f'<polyline points="{path}" fill="none" stroke="{_INK}" stroke-width="1.5"/>'
            )
    return drawn


def _row_texts(label: str, left: float, middle: float, number: str) -> list[str]:
    return [
        _text(left - _MARGIN, middle, label, "end"),
        _text(left + _CHART + _MARGIN, middle, number, "start"),
    ]


def _axis(steps: Sequence[int], left: float, top: float, note: str) -> list[str]:
    middle = top + _AXIS / 2
    last = f"step {steps[-1]}" if len(steps) > 1 else ""
    return [
        _text(left, middle, f"step {steps[0]}", "start"),
        _text(left + _CHART / 2, middle, note, "middle"),
        _text(left + _CHART, middle, last, "end"),
        _text(left + _CHART + _MARGIN, middle, "mean", "start"),
    ]


def _text(x: float, y: float, text: str, anchor: str, fill: str = "#222222", size: int = 12) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" dominant-baseline="central" '
        f'fill="{fill}" font-size="{size}">{escape(text)}</text>'
    )


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _svg(parts: Sequence[str], width: float, height: float) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img">{"".join(parts)}</svg>'
    )
