"""How each method's shares grow with its steps, and with its distance from the base model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

import numpy as np

from marblecli.lab.gains import gains_of
from marblecli.lab.results import CellResult
from marblecli.types import EvaluationRecord


@dataclass(frozen=True)
class Waypoint:
    """A method after some steps: means over its seeds."""

    step: int
    distance: float
    """From the base model; NaN where it wasn't measured."""
    gains: Mapping[str, float]
    """By reward, in its own unit."""
    worst: float
    """The least share."""
    mean: float
    """The mean share."""


def path_of(
    cells: Sequence[CellResult], rewards: Sequence[str], split: str, units: Mapping[str, float]
) -> tuple[Waypoint, ...]:
    """From the base model to the last evaluation, at the steps that all cells have evaluated."""
    by_cell = [{each.step: each for each in cell.trained} for cell in cells]
    steps = sorted(set.intersection(*(set(each) for each in by_cell)))
    start = Waypoint(0, 0.0, dict.fromkeys(rewards, 0.0), 0.0, 0.0)
    return (
        start,
        *(
            _waypoint(step, cells, [each[step] for each in by_cell], (rewards, split, units))
            for step in steps
            if step
        ),
    )


def _waypoint(
    step: int,
    cells: Sequence[CellResult],
    evaluations: Sequence[EvaluationRecord],
    how: tuple[Sequence[str], str, Mapping[str, float]],
) -> Waypoint:
    rewards, split, units = how
    pairs = {
        cell.cell.seed: (cell.base, each) for cell, each in zip(cells, evaluations, strict=True)
    }
    means = dict(zip(rewards, gains_of(pairs, rewards, split).means.tolist(), strict=True))
    known = {name: value for name, value in means.items() if not math.isnan(value)}
    shares = [value / units[name] for name, value in known.items()]
    distances = [each.distances.get(split, math.nan) for each in evaluations]
    return Waypoint(
        step,
        fmean(distances),
        known,
        min(shares, default=math.nan),
        fmean(shares) if shares else math.nan,
    )


def at_distance(path: Sequence[Waypoint], distance: float) -> Waypoint | None:
    """Where the path first reaches that distance, between two waypoints on a straight line.

    None if it never does, or if a distance wasn't measured.
    """
    if any(math.isnan(each.distance) for each in path):
        return None
    for one, other in pairwise(path):
        if one.distance <= distance <= other.distance and one.distance < other.distance:
            part = (distance - one.distance) / (other.distance - one.distance)
            return _between(one, other, part)
    return None


def _between(one: Waypoint, other: Waypoint, part: float) -> Waypoint:
    def mixed(first: float, second: float) -> float:
        return float(np.interp(part, [0.0, 1.0], [first, second]))

    return Waypoint(
        round(mixed(one.step, other.step)),
        mixed(one.distance, other.distance),
        {name: mixed(one.gains.get(name, math.nan), value) for name, value in other.gains.items()},
        mixed(one.worst, other.worst),
        mixed(one.mean, other.mean),
    )


def common_distance(paths: Mapping[str, Sequence[Waypoint]]) -> float | None:
    """The farthest that all methods have gone; None if one wasn't measured on its way."""
    if not paths or any(len(path) < 3 for path in paths.values()):
        return None
    if any(math.isnan(each.distance) for path in paths.values() for each in path):
        return None
    return min(max(each.distance for each in path) for path in paths.values())
