"""Amounts in a grid of named rows and columns: the larger, the darker."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from marblecli.report.charts import STRONGEST, wrap_name
from marblecli.report.drawing import INK, QUIET, SERIES, WIDTH, draw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROW, _BELOW, _LETTER = 34, 84, 6.2
"""CSS pixels: a row's height, that of the columns' names, and a letter's width."""


def heat(
    title: str, rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]]
) -> str:
    """Draw ``values`` [rows, columns], none below 0; NaN is an empty cell with a dash."""
    wrapped = [wrap_name(name) for name in rows]
    longest = max((len(line) for name in wrapped for line in name.splitlines()), default=1)
    left = min(round(_LETTER * longest) + 12, WIDTH * 0.42)
    height = _ROW * len(rows) + _BELOW
    most = max((v for row in values for v in row if not math.isnan(v)), default=1.0) or 1.0

    def fill(figure: Figure) -> None:
        from matplotlib.patches import Rectangle

        axes = figure.add_axes(
            (left / WIDTH, _BELOW / height, (WIDTH - left - 4) / WIDTH, _ROW * len(rows) / height)
        )
        for place, row in enumerate(values):
            for column, value in enumerate(row):
                known = not math.isnan(value)
                opacity = STRONGEST * value / most if known else 0.0
                corner = (column + 0.03, place + 0.05)
                axes.add_patch(
                    Rectangle(corner, 0.94, 0.9, facecolor=SERIES[0], alpha=opacity, linewidth=0)
                )
                text = f"{value:.2f}" if known else "-"
                axes.text(
                    column + 0.5,
                    place + 0.5,
                    text,
                    ha="center",
                    va="center",
                    fontsize=8.0,
                    color=INK if known else QUIET,
                )
        axes.set_xlim(0, len(columns))
        axes.set_ylim(len(rows), 0)
        names = [wrap_name(name) for name in columns]
        axes.set_xticks([place + 0.5 for place in range(len(columns))], names, rotation=30)
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor", color=INK)
        axes.set_yticks([place + 0.5 for place in range(len(rows))], wrapped, color=INK)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)

    described = "; ".join(
        f"{name}: " + ", ".join(f"{c} {v:.2f}" for c, v in zip(columns, row, strict=True))
        for name, row in zip(rows, values, strict=True)
    )
    return draw(height, title, described, fill)
