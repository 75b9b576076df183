"""The finished cells of a lab, read from their run directories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from marblecli.conflicts.record import ConflictRecord
from marblecli.errors import BadInputError
from marblecli.lab.grid import Cell
from marblecli.lab.state import state_of
from marblecli.runs.recipe import read_table
from marblecli.runs.run import Run
from marblecli.types import EvaluationRecord, Json, ScoredImage


@dataclass(frozen=True)
class CellResult:
    """What a finished cell has recorded."""

    cell: Cell
    base: EvaluationRecord
    trained: tuple[EvaluationRecord, ...]
    """By step, the last one at the end of the run."""
    metrics: tuple[Mapping[str, Json], ...]
    conflicts: tuple[ConflictRecord, ...]

    @property
    def last(self) -> EvaluationRecord:
        """The evaluation at the end of the run."""
        return self.trained[-1]


@dataclass(frozen=True)
class Results:
    """All finished cells by method, in the recipe's order, and the names of the others."""

    rewards: tuple[str, ...]
    methods: Mapping[str, tuple[CellResult, ...]]
    missing: tuple[str, ...]

    @property
    def cells(self) -> tuple[CellResult, ...]:
        """All of them."""
        return tuple(cell for each in self.methods.values() for cell in each)


def read_results(cells: Sequence[Cell], rewards: Sequence[str]) -> Results:
    """Read every finished cell.

    Raises BadInputError if none is finished, or a file of a cell is broken.
    """
    methods: dict[str, list[CellResult]] = {}
    missing = []
    for cell in cells:
        if state_of(cell).finished:
            methods.setdefault(cell.method, []).append(_read(cell))
        else:
            missing.append(cell.name)
    if not methods:
        raise BadInputError("no cell is finished, so there is nothing to compare yet")
    order = dict.fromkeys(cell.method for cell in cells if cell.method in methods)
    return Results(tuple(rewards), {name: tuple(methods[name]) for name in order}, tuple(missing))


def _read(cell: Cell) -> CellResult:
    run = Run(cell.directory)
    scales = _scales(read_table(run.recipe_file))
    evaluations = [_unscaled(each, scales) for each in run.evaluations()]
    base = next((each for each in evaluations if each.subject == "base"), None)
    if base is None:
        raise BadInputError(f"{run.evaluations_file} has no evaluation of the base model")
    trained = sorted(
        (each for each in evaluations if each.subject == "trained"), key=lambda each: each.step
    )
    conflicts = run.conflicts() if run.conflicts_file.is_file() else ()
    return CellResult(cell, base, tuple(trained), run.metrics(), conflicts)


def _scales(recipe: Mapping[str, Json]) -> dict[str, float]:
    """The size of each reward's scale that isn't 1; its sign belongs to the reward."""
    found = {
        name: abs(float(reward.get("scale", 1.0))) for name, reward in recipe["rewards"].items()
    }
    return {name: scale for name, scale in found.items() if scale not in {0.0, 1.0}}


def _unscaled(record: EvaluationRecord, scales: Mapping[str, float]) -> EvaluationRecord:
    """The scores as the rewards gave them, so that cells of different scales can be compared."""
    if not scales:
        return record

    def scored(image: ScoredImage) -> ScoredImage:
        scores = {
            name: score if score is None else score / scales.get(name, 1.0)
            for name, score in image.scores.items()
        }
        return replace(image, scores=scores)

    images = {split: tuple(map(scored, each)) for split, each in record.images.items()}
    return replace(record, images=images)
