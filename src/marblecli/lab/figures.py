"""The charts of a comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from marblecli.lab.compare import Comparison
from marblecli.lab.paths import Waypoint
from marblecli.lab.results import CellResult, Results
from marblecli.lab.samples import SampleFigure
from marblecli.report.charts import Row, cosine_rows
from marblecli.report.curves import Batches, Line, Point, curves
from marblecli.report.heat import heat
from marblecli.report.page import Chart
from marblecli.report.scatter import Spot, scatter, unbeaten

Paths = Mapping[str, Sequence[Waypoint]]
"""By method, those of several rewards alone."""


def pareto_charts(found: Comparison) -> tuple[Chart, ...]:
    """Worst share against mean share, and the two rewards that are hardest to serve together."""
    methods = [each for each in found.methods if not each.is_specialist]
    if not methods:
        return ()
    overall = [
        Spot(
            each.method,
            each.mean.value,
            each.worst.value,
            (each.mean.low, each.mean.high),
            (each.worst.low, each.worst.high),
        )
        for each in methods
    ]
    charts = [_pareto("Worst share and mean share", ("mean share", "worst share"), overall)]
    pair = _hardest_pair(found)
    if pair is not None:
        spots = [
            Spot(
                each.method,
                each.shares[pair[0]].value,
                each.shares[pair[1]].value,
                (each.shares[pair[0]].low, each.shares[pair[0]].high),
                (each.shares[pair[1]].low, each.shares[pair[1]].high),
            )
            for each in found.methods
            if set(pair) <= each.shares.keys()
        ]
        title = f"{pair[0]} and {pair[1]}"
        charts.append(_pareto(title, (f"share of {pair[0]}", f"share of {pair[1]}"), spots))
    return tuple(charts)


def distance_chart(paths: Paths) -> Chart | None:
    """The worst share and the distance at the end; None if no distance was measured."""
    spots = [
        Spot(name, path[-1].distance, path[-1].worst)
        for name, path in paths.items()
        if not math.isnan(path[-1].distance)
    ]
    if not spots:
        return None
    drawn = scatter(
        "Worst share and distance", ("distance from the base model", "worst share"), spots
    )
    return Chart("Worst share and distance", drawn, tall=True)


def curve_charts(results: Results, paths: Paths) -> tuple[Chart, ...]:
    """The worst share by step, then each reward's gain by step and its means in training."""
    worst = [
        Line(name, tuple(Point(w.step, w.worst, math.nan, math.nan) for w in path))
        for name, path in paths.items()
    ]
    charts = [Chart("Worst share by step", curves("Worst share by step", "", worst, ()))]
    for reward in results.rewards:
        lines = [
            Line(
                name,
                tuple(Point(w.step, w.gains.get(reward, math.nan), math.nan, math.nan) for w in p),
            )
            for name, p in paths.items()
        ]
        batches = [
            each
            for name in paths
            if (each := _batches(name, results.methods[name], reward)) is not None
        ]
        charts.append(Chart(reward, curves(reward, "", lines, batches)))
    return tuple(charts)


def harmony_charts(results: Results) -> tuple[Chart, ...]:
    """For each method, the cosine of the applied direction with each reward, batch by batch."""
    charts = []
    for name, cells in results.methods.items():
        by_step: dict[int, list[Mapping[str, float | None]]] = {}
        for cell in cells:
            for record in cell.conflicts:
                if "applied" in record.cosines:
                    named = dict(zip(record.rewards, record.cosines["applied"], strict=True))
                    by_step.setdefault(record.step, []).append(named)
        steps = sorted(by_step)
        if not steps:
            continue
        rows = [
            Row(reward, [_mean([each.get(reward) for each in by_step[step]]) for step in steps])
            for reward in results.rewards
        ]
        drawn = cosine_rows(f"Cosines of {name}", rows, steps)
        charts.append(Chart(name, drawn, tall=True))
    return tuple(charts)


def sample_chart(figure: SampleFigure) -> Chart:
    """The mean size of the advantages, by reward and prompt source."""
    title = "Mean size of the advantages"
    return Chart(title, heat(title, figure.rewards, figure.sources, figure.strength.tolist()))


def _pareto(title: str, axes: tuple[str, str], spots: Sequence[Spot]) -> Chart:
    best = ", ".join(spot.name for spot in unbeaten(spots))
    text = f"No other method has more of both than: {best}."
    return Chart(title, scatter(title, axes, spots), text, tall=True)


def _hardest_pair(found: Comparison) -> tuple[str, str] | None:
    """The rewards whose shares are the most negatively correlated over the methods."""
    methods = [each for each in found.methods if each.shares.keys() >= set(found.rewards)]
    if len(methods) < 3 or len(found.rewards) < 2:
        return None
    columns = {name: [each.shares[name].value for each in methods] for name in found.rewards}
    names = list(columns)
    pairs = [(one, other) for place, one in enumerate(names) for other in names[place + 1 :]]
    return min(pairs, key=lambda pair: _correlation(columns[pair[0]], columns[pair[1]]))


def _correlation(one: Sequence[float], other: Sequence[float]) -> float:
    means = fmean(one), fmean(other)
    product = math.fsum((a - means[0]) * (b - means[1]) for a, b in zip(one, other, strict=True))
    sizes = (
        math.fsum((a - means[0]) ** 2 for a in one),
        math.fsum((b - means[1]) ** 2 for b in other),
    )
    return product / math.sqrt(sizes[0] * sizes[1]) if all(sizes) else 0.0


def _batches(name: str, cells: Sequence[CellResult], reward: str) -> Batches | None:
    by_step: dict[int, list[float]] = {}
    for cell in cells:
        for line in cell.metrics:
            value = line.get("rewards", {}).get(reward)
            if value is not None:
                by_step.setdefault(line["step"], []).append(value)
    steps = sorted(by_step)
    return Batches(name, tuple(steps), tuple(fmean(by_step[s]) for s in steps)) if steps else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
