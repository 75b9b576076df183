"""Check a lab before any cell is trained: every method's recipe, and the cells that were begun."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from marblecli.errors import BadInputError, Problem, RecipeError
from marblecli.lab.grid import Cell
from marblecli.lab.recipe import LabRecipe


def check(source: Path, lab: LabRecipe, cells: Sequence[Cell]) -> None:
    """Load the recipe of each method without loading a weight.

    Raises RecipeError with the faults of all methods at once. A fault that all of them share is
    named by the recipe's own key, and any other one by its method. Raises BadInputError if a cell
    was begun with other settings.
    """
    from marblecli.cli.progress import showing_work
    from marblecli.progress import work

    first = {cell.method: cell for cell in cells if cell.seed == lab.seeds[0]}
    with showing_work(), work("checking the methods", len(first), "methods") as advance:
        from marblecli.cli.setup import load_plan

        faults: dict[str, tuple[Problem, ...]] = {}
        for name, cell in first.items():
            try:
                load_plan(cell.recipe, cell.overrides, quiet=True, starting=True)
            except RecipeError as error:
                faults[name] = error.problems
            advance(1)
    if faults:
        raise RecipeError(str(source), _told(faults, len(first)))
    for cell in cells:
        _check_begun(cell)


def _told(faults: Mapping[str, Sequence[Problem]], methods: int) -> list[Problem]:
    """The faults that all methods share once, then those of each method."""
    named = {(each.key, each.message): each for found in faults.values() for each in found}
    shared = {
        key
        for key in named
        if len(faults) == methods
        and all(key in {(p.key, p.message) for p in found} for found in faults.values())
    }
    own = [
        Problem(f"methods.{method}.{problem.key}", problem.message)
        for method, found in faults.items()
        for problem in found
        if (problem.key, problem.message) not in shared
    ]
    common = (named[key] for key in named if key in shared)
    return [*(Problem(f"recipe: {each.key}", each.message) for each in common), *own]


def _check_begun(cell: Cell) -> None:
    from marblecli.cli.setup import load_plan
    from marblecli.cli.train.resumption import changes_of
    from marblecli.runs.run import Run

    run = Run(cell.directory)
    if not run.recipe_file.is_file():
        return
    plan = load_plan(cell.recipe, cell.overrides, quiet=True)
    advice = f"delete {cell.directory} to train the cell anew, or give another --lab-dir"
    try:
        changed = changes_of(run, plan)
    except BadInputError as error:
        raise BadInputError(f"{error}; {advice}") from error
    if changed:
        raise BadInputError(
            f"{cell.directory} was begun with another {', '.join(changed)}: {advice}"
        )
