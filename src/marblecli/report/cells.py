"""How a cell reads: the same words on a terminal and on a page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from marblecli.conflicts.estimates import Estimate
from marblecli.report.tables import Cell, Change, Column, Judged, Kind, MeanCosine, WeightedCosine

NOTHING = "-"
"""What stands where there is no value."""


@dataclass(frozen=True)
class Line:
    """One line of a cell."""

    text: str
    tone: Literal["plain", "negative", "positive", "quiet"] = "plain"
    """Negative, drawn in red, is a cosine below 0; a mean has to be significantly below. Positive
    is a reward that rose significantly."""
    detail: bool = False
    """Whether a screen that is too narrow may leave the line out."""


def lines(cell: Cell, kind: Kind) -> tuple[Line, ...]:
    """What a cell says; at least one line."""
    if isinstance(cell, MeanCosine):
        return _mean_cosine(cell)
    if isinstance(cell, Judged):
        return _judged(cell)
    if isinstance(cell, Change):
        return _change(cell)
    if isinstance(cell, WeightedCosine):
        return (Line(f"{cosine(cell.cosine)} ({cell.simplex_weight:.2f})", _tone(cell.cosine)),)
    if cell is None or isinstance(cell, str):
        return (Line(cell or NOTHING),)
    tone = _tone(cell) if kind == "cosine" else "plain"
    return (Line(_FORMATS.get(kind, str)(cell), tone),)


def column_notes(column: Column) -> tuple[str, ...]:
    """What stands below a column's title, line by line."""
    chance = "" if column.chance is None else f"by chance {share(column.chance)}"
    return tuple(filter(None, (column.note, chance)))


def number(value: float | None, digits: int = 4) -> str:
    """``0.1234``, in scientific form where fixed digits would hide it; ``-`` for no value."""
    if value is None or math.isnan(value):
        return NOTHING
    if value != 0.0 and not 10.0**-digits <= abs(value) < 10.0**6:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{digits}f}"


def cosine(value: float | None) -> str:
    """``+0.123``; a cosine near 0 keeps its sign, as in ``-1e-04``; ``-`` for no value."""
    if value is None or math.isnan(value):
        return NOTHING
    return f"{value:+.3f}" if value == 0.0 or abs(value) >= 5e-4 else f"{value:+.0e}"


def signed(value: float) -> str:
    """``+0.012``; more digits where three would show nothing but zeros."""
    if value == 0.0 or abs(value) >= 5e-4:
        return f"{value:+.3f}" if abs(value) < 1e3 else f"{value:+.3g}"
    return f"{value:+.1g}"


def share(value: float) -> str:
    """``12 %``; ``-`` for no value."""
    return NOTHING if math.isnan(value) else f"{100.0 * value:.0f} %"


def interval(estimate: Estimate) -> str:
    """``[-0.10, +0.20]``; empty where there is no interval."""
    if math.isnan(estimate.low):
        return ""
    return f"[{estimate.low:+.2f}, {estimate.high:+.2f}]"


def marked(estimate: Estimate) -> str:
    """The mean cosine, with ``?`` behind it where its sign isn't significant."""
    doubt = "" if estimate.sign or math.isnan(estimate.value) else "?"
    return cosine(estimate.value) + doubt


_FORMATS: Mapping[Kind, Callable[[float], str]] = {
    "number": number,
    "share": share,
    "cosine": cosine,
}
"""By kind; a count is written as it is."""


def _mean_cosine(cell: MeanCosine) -> tuple[Line, ...]:
    estimate = cell.estimate
    if math.isnan(estimate.value):
        return (Line(NOTHING),)
    text = marked(estimate)
    if cell.conflict_share is not None:
        text += f" ({share(cell.conflict_share)})"
    found = [Line(text, _tone(estimate.sign))]
    if interval(estimate):
        found.append(Line(interval(estimate), "quiet"))
    if cell.reward is not None:
        found.append(Line(cell.reward, "quiet", detail=True))
    return tuple(found)


def _judged(cell: Judged) -> tuple[Line, ...]:
    estimate = cell.estimate
    if math.isnan(estimate.value):
        return (Line(cell.verdict),)
    first = Line(f"{cell.verdict} {estimate.value:+.2f}", _tone(estimate.sign))
    bounds = interval(estimate)
    return (first, Line(bounds, "quiet")) if bounds else (first,)


def _change(cell: Change) -> tuple[Line, ...]:
    if math.isnan(cell.value):
        return (Line(NOTHING),)
    tones: Mapping[int, Literal["plain", "negative", "positive"]]
    tones = {1: "positive", 0: "plain", -1: "negative"}
    arrow = {1: " \N{UPWARDS ARROW}", 0: "", -1: " \N{DOWNWARDS ARROW}"}[cell.sign]
    first = Line(f"{signed(cell.value)}{arrow}", tones[cell.sign])
    if math.isnan(cell.low):
        return (first,)
    return (first, Line(f"[{signed(cell.low)}, {signed(cell.high)}]", "quiet"))


def _tone(value: float) -> Literal["plain", "negative"]:
    return "negative" if value < 0.0 else "plain"
