"""Draw the figures of docs/method.md from the records of a finished quickstart run.

marble train recipes/quickstart.toml --run-dir RUN_DIR
python docs/figures.py RUN_DIR docs/images
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import matplotlib as mpl
import numpy as np
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from marblecli.conflicts.columns import column_each, gradient_cosines, reward_names
from marblecli.conflicts.pairs import pairs_of
from marblecli.conflicts.record import ConflictRecord
from marblecli.conflicts.replay import replay_records
from marblecli.conflicts.vectors import direction_cosines
from marblecli.runs.run import Run
from marblecli.settings import BalanceSettings
from marblecli.types import FloatArray

METHODS = ("marble", "equal", "weighted-sum")
_COLOURS = ("#2166ac", "#5c5c5c", "#b2182b", "#e08214", "#4d9221")
_MARKS = ("o", "s", "^", "D", "v")
"""A mark for each line, so that it is known without its colour."""


def main(
    run_dir: Annotated[Path, typer.Argument(help="A finished quickstart run.")],
    folder: Annotated[Path, typer.Argument(help="Where the SVG files go.")],
) -> None:
    """Write method-worst.svg, method-pairs.svg and method-weights.svg."""
    records = Run(run_dir).conflicts()
    # With a salt, the same figure gives the same file.
    with mpl.rc_context(
        {"svg.hashsalt": "marble", "axes.spines.top": False, "axes.spines.right": False}
    ):
        for name, figure in draw(records).items():
            file = folder / f"{name}.svg"
            figure.savefig(file, metadata={"Date": None})
            # matplotlib leaves spaces at the ends of lines.
            lines = file.read_text(encoding="utf-8").splitlines()
            file.write_text("".join(f"{line.rstrip()}\n" for line in lines), encoding="utf-8")


def draw(records: Sequence[ConflictRecord]) -> dict[str, Figure]:
    """The figures by name."""
    return {
        "method-worst": _draw_worst(records),
        "method-pairs": _draw_pairs(records),
        "method-weights": _draw_weights(records),
    }


def worst_cosines(records: Sequence[ConflictRecord], method: str) -> FloatArray:
    """[batches], the least cosine of the method's direction with a gradient of the same batch."""
    settings = BalanceSettings(method=method)
    chosen = replay_records(records, settings, {}, "batch")
    worst = [
        np.nan
        if coefficients is None
        else np.nanmin(direction_cosines(np.array(record.gram), coefficients))
        for record, (coefficients,) in zip(records, chosen, strict=True)
    ]
    return np.array(worst)


def pair_matrix(records: Sequence[ConflictRecord]) -> FloatArray:
    """[K, K], the mean cosine in single batches above the diagonal, without noise below it.

    NaN where no number is significant, and on the diagonal.
    """
    names = reward_names(records)
    single = np.nanmean([gradient_cosines(record, names) for record in records], axis=0)
    cells = np.where(np.triu(np.ones_like(single), 1) > 0, single, np.nan)
    for pair in pairs_of(records):
        low, high = sorted((names.index(pair.first), names.index(pair.second)))
        if pair.corrected.sign:
            cells[high, low] = pair.corrected.value
    found: FloatArray = cells
    return found


def _draw_worst(records: Sequence[ConflictRecord]) -> Figure:
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.add_subplot()
    steps = [record.step for record in records]
    for place, method in enumerate(METHODS):
        _line(axes, steps, worst_cosines(records, method), method, place)
    axes.axhline(0.0, color="black", linewidth=0.8)
    axes.set_xlabel("step")
    axes.set_ylabel("worst reward's cosine")
    axes.legend(frameon=False, ncols=len(METHODS), loc="upper right", bbox_to_anchor=(1.0, 1.18))
    return figure


def _draw_pairs(records: Sequence[ConflictRecord]) -> Figure:
    names, cells = reward_names(records), pair_matrix(records)
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.add_subplot()
    drawn = axes.imshow(cells, cmap="RdBu", vmin=-1.0, vmax=1.0, aspect="auto")
    places = range(len(names))
    labels = [name.removeprefix("shapes-") for name in names]
    axes.set_xticks(places, labels)
    axes.set_yticks(places, labels)
    for row in places:
        for column in places:
            text = _cell_text(cells[row, column], diagonal=row == column)
            dark = abs(cells[row, column]) > 0.6
            ink = "white" if dark else "black"
            axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=9)
    figure.colorbar(drawn, label="cosine")
    axes.set_title("above: single batches; below: without noise", fontsize=10)
    return figure


def _cell_text(value: float, *, diagonal: bool) -> str:
    if diagonal:
        return ""
    return "not\nsignificant" if np.isnan(value) else f"{value:+.2f}"


def _draw_weights(records: Sequence[ConflictRecord]) -> Figure:
    names = reward_names(records)
    weights = column_each(records, lambda record: record.simplex_weights)
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.add_subplot()
    steps = [record.step for record in records]
    for place, name in enumerate(names):
        _line(axes, steps, weights[:, place], name.removeprefix("shapes-"), place)
    axes.set_ylim(0.0, None)
    axes.set_xlabel("step")
    axes.set_ylabel("weight of the unit gradient")
    axes.legend(frameon=False, ncols=len(names), loc="upper right", bbox_to_anchor=(1.0, 1.18))
    return figure


def _line(axes: Axes, steps: Sequence[int], values: FloatArray, label: str, place: int) -> None:
    place %= len(_COLOURS)
    axes.plot(
        steps,
        values,
        label=label,
        color=_COLOURS[place],
        marker=_MARKS[place],
        markersize=3.5,
        linewidth=1.2,
        markevery=3,
    )


if __name__ == "__main__":
    typer.run(main)
