"""Named points in a plane, with the bounds of both values: which of them no other one beats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from marblecli.report.cells import number
from marblecli.report.curves import apart
from marblecli.report.drawing import MARKERS, QUIET, SERIES, WIDTH, draw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHT, _LEFT, _RIGHT, _BELOW, _TOP = 280, 52, 96, 40, 12
"""CSS pixels."""
_APART = 13


@dataclass(frozen=True)
class Spot:
    """One point; bounds are NaN where there are none."""

    name: str
    x: float
    y: float
    x_bounds: tuple[float, float] = (math.nan, math.nan)
    y_bounds: tuple[float, float] = (math.nan, math.nan)


def scatter(title: str, axes_named: tuple[str, str], spots: Sequence[Spot]) -> str:
    """Draw the ``spots``; thin lines are their intervals. Each name stands beside its point.

    ``axes_named`` are what is to the right and what is up. Spots without a value are left out.
    """
    there = [spot for spot in spots if not (math.isnan(spot.x) or math.isnan(spot.y))]

    def fill(figure: Figure) -> None:
        axes = figure.add_axes(
            (
                _LEFT / WIDTH,
                _BELOW / _HEIGHT,
                (WIDTH - _LEFT - _RIGHT) / WIDTH,
                (_HEIGHT - _BELOW - _TOP) / _HEIGHT,
            )
        )
        axes.grid()
        for place, spot in enumerate(there):
            _draw_spot(axes, place, spot)
        axes.set_xlabel(axes_named[0], labelpad=2)
        axes.set_ylabel(axes_named[1], labelpad=1)
        axes.tick_params(length=2, labelsize=8.0)
        axes.locator_params(nbins=5)
        _name_spots(axes, there)

    told = "; ".join(f"{spot.name}: {number(spot.x, 3)}, {number(spot.y, 3)}" for spot in there)
    return draw(_HEIGHT, title, f"{axes_named[0]} and {axes_named[1]}: {told}", fill)


def unbeaten(spots: Sequence[Spot]) -> tuple[Spot, ...]:
    """The spots than which no other one has more of both values (the Pareto front)."""
    return tuple(
        spot
        for spot in spots
        if not any(
            other.x >= spot.x and other.y >= spot.y and (other.x, other.y) != (spot.x, spot.y)
            for other in spots
        )
    )


def _draw_spot(axes: Axes, place: int, spot: Spot) -> None:
    colour = SERIES[place % len(SERIES)]
    if not math.isnan(spot.x_bounds[0]):
        axes.plot(spot.x_bounds, (spot.y, spot.y), color=colour, linewidth=0.8, alpha=0.6)
    if not math.isnan(spot.y_bounds[0]):
        axes.plot((spot.x, spot.x), spot.y_bounds, color=colour, linewidth=0.8, alpha=0.6)
    marker = MARKERS[place % len(MARKERS)]
    axes.plot([spot.x], [spot.y], color=colour, marker=marker, markersize=5.5, linestyle="none")


def _name_spots(axes: Axes, spots: Sequence[Spot]) -> None:
    """Names stand at the right in the order of the points, so that none covers another."""
    low, high = axes.get_ylim()
    inside = _HEIGHT - _BELOW - _TOP
    places = apart([(spot.y - low) / (high - low) * inside for spot in spots], _APART)
    for index, (spot, place) in enumerate(zip(spots, places, strict=True)):
        axes.text(
            1.03,
            place / inside,
            f"{spot.name}",
            transform=axes.transAxes,
            color=SERIES[index % len(SERIES)],
            va="center",
            fontsize=8.0,
        )
    axes.axhline(0.0, color=QUIET, linewidth=0.75)
    axes.axvline(0.0, color=QUIET, linewidth=0.75)
