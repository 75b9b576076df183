"""The tables of a comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from marblecli.lab.compare import Amount, Comparison
from marblecli.lab.measures import Measures
from marblecli.lab.paths import Waypoint
from marblecli.lab.samples import STRONG, SampleFigure
from marblecli.report.run_tables import split_title
from marblecli.report.tables import Cell, Change, Column, Table

_INTERVAL = (
    "The interval of 95 % is over seeds and prompts, both drawn anew (the pigeonhole bootstrap)."
)


def shares_table(found: Comparison, measures: Mapping[str, Measures]) -> Table:
    """The worst and the mean share of each method, its conflicts and its cost."""
    rows: list[tuple[Cell, ...]] = [
        (
            each.method,
            len(each.seeds),
            as_cell(each.worst),
            each.worst_reward,
            as_cell(each.mean),
            measures[each.method].distance,
            measures[each.method].fresh_worst,
            measures[each.method].fresh_conflicts,
            _whole(measures[each.method].passes),
            _whole(measures[each.method].seconds),
        )
        for each in found.methods
    ]
    return Table(
        title=f"{split_title(found.split)}: the worst-off reward, and the mean",
        columns=(
            Column("method", "text"),
            Column("seeds", "count"),
            Column("worst share", "change", "95 % interval"),
            Column("of", "text"),
            Column("mean share", "change", "95 % interval"),
            Column("distance", "number", "from the base"),
            Column("worst cosine", "cosine", "fresh, signal", detail=1),
            Column("in conflict", "share", "fresh, signal", detail=1),
            Column("passes", "count", detail=1),
            Column("seconds", "count", detail=1),
        ),
        rows=tuple(rows),
        explanation=f"{found.units.reason} The worst share is that of the reward which gains "
        f"least. {_INTERVAL} The least of several noisy shares is lower than the share of any one "
        "of them would be, so intervals of the worst share lie low. The distance is the mean "
        "squared difference of the trained policy's velocities from the base model's, on the "
        "trained policy's own images at noise levels from 0 to 1. Cosines are those of the applied "
        "direction with the signal of each reward on fresh images; a share in conflict of 50 % is "
        "what pure noise gives. Passes are forward passes of one image in all steps of a run, "
        "with a backward pass counted as 1.12, without evaluations and measurements.",
    )


def gains_table(found: Comparison, split: str) -> Table:
    """The gain of each reward in each method, in the reward's own unit."""
    rows: list[tuple[Cell, ...]] = [
        (each.method, *(as_cell(each.gains[split].get(name)) for name in found.rewards))
        for each in found.methods
        if split in each.gains
    ]
    return Table(
        title=f"{split_title(split)}: gain since the base model",
        columns=(Column("method", "text"), *(Column(name, "change") for name in found.rewards)),
        rows=tuple(rows),
        explanation="The mean over all images and seeds of the difference from the base model's "
        f"image of the same prompt and noise. {_INTERVAL}",
    )


def differences_table(found: Comparison) -> Table:
    """Every method less the reference, paired by seed and image."""
    rows: list[tuple[Cell, ...]] = [
        (
            each.method,
            len(each.seeds),
            as_cell(each.worst),
            as_cell(each.mean),
            *(as_cell(each.gains.get(name)) for name in found.rewards),
        )
        for each in found.differences
    ]
    return Table(
        title=f"{split_title(found.split)}: difference from {found.reference}",
        columns=(
            Column("method", "text"),
            Column("seeds", "count"),
            Column("worst share", "change"),
            Column("mean share", "change"),
            *(Column(name, "change", detail=1) for name in found.rewards),
        ),
        rows=tuple(rows),
        explanation="Over the seeds that both have, image by image of the same prompt and noise. "
        f"{_INTERVAL}",
    )


def equal_distance_table(found: Mapping[str, Waypoint], split: str) -> Table:
    """The shares of each method at the same distance from the base model."""
    return Table(
        title=f"{split_title(split)}: at equal distance from the base model",
        columns=(
            Column("method", "text"),
            Column("step", "count"),
            Column("distance", "number"),
            Column("worst share", "number"),
            Column("mean share", "number"),
        ),
        rows=tuple(
            (name, each.step, each.distance, each.worst, each.mean) for name, each in found.items()
        ),
        explanation="Where each method is as far from the base model as the one that has gone the "
        "least far is at its end; between two evaluations on a straight line.",
    )


def wins_table(found: Comparison) -> Table | None:
    """In how many seeds a method's worst share is larger than another's; None for one method."""
    names = list(dict.fromkeys(one for one, _ in found.wins))
    if not names:
        return None
    return Table(
        title="Seeds won by the worst share",
        columns=(Column("method", "text"), *(Column(f"over {name}", "text") for name in names)),
        rows=tuple(
            (one, *(_won(found.wins.get((one, other))) for other in names)) for one in names
        ),
        explanation="Of the seeds that both methods have, those in which the method's worst-off "
        "reward gains a larger share than the other method's worst-off reward.",
    )


def units_table(found: Comparison) -> Table:
    """What a share of 1 is, by reward."""
    word = {"specialist": "specialist's gain", "deviation": "standard deviation"}
    return Table(
        title="What a share of 1 is",
        columns=(Column("reward", "text"), Column(word[found.units.kind], "number")),
        rows=tuple(found.units.by_reward.items()),
        explanation=found.units.reason,
    )


def specialists_table(figure: SampleFigure) -> Table:
    """Which share of the images says much about one reward alone."""
    rows: Sequence[tuple[Cell, ...]] = [
        *(
            (f"{name} alone", float(share))
            for name, share in zip(figure.rewards, figure.specialists, strict=True)
        ),
        ("two rewards or more", figure.generalists),
        ("none", figure.silent),
    ]
    return Table(
        title="What single images say much about",
        columns=(Column("reward", "text"), Column("images", "share")),
        rows=tuple(rows),
        explanation=f"An image says much about a reward if its advantage is at least {STRONG:g} "
        f"standard deviation in size; {figure.images} images of the base model on training "
        "prompts.",
    )


def as_cell(amount: Amount | None) -> Cell:
    """The mean and its interval as a cell."""
    return None if amount is None else Change(amount.value, amount.low, amount.high)


def _won(found: tuple[int, int] | None) -> str | None:
    return None if found is None else f"{found[0]} of {found[1]}"


def _whole(value: float) -> int | None:
    return None if math.isnan(value) else round(value)
