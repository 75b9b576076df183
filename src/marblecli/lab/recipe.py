"""A lab recipe: which methods are compared, on which seeds, and what they share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, ValidationError, field_validator

from marblecli.errors import (
    Problem,
    RecipeError,
    did_you_mean,
    one_of,
    validation_problems,
)
from marblecli.runs.recipe import read_table
from marblecli.settings.table import Table

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
SPECIALIST = "specialist-"
"""What the names of the methods begin with that train one reward alone."""


class LabRecipe(Table):
    """A whole lab recipe."""

    recipe: Path
    """The recipe that all cells are made of, relative to the lab recipe."""
    seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)]
    """The seeds, each of which every method is trained with. It takes the place of ``run.seed``."""
    set: Mapping[str, Any] = {}
    """What all cells change in the recipe, by dotted key, as ``--set`` does."""
    methods: Mapping[Annotated[str, Field(pattern=_NAME)], Mapping[str, Any]] = {}
    """By the name that tables and charts show, what a method changes in the recipe, by dotted
    key. A change of a method takes precedence over one of all cells."""
    specialists: bool = False
    """Also train a specialist of each reward, by the method ``single``. Their gains are what the
    gains of the others are compared with."""
    reference: str | None = None
    """The method that the others' differences are from; the first one if absent."""

    @field_validator("seeds", mode="after")
    @classmethod
    def _each_once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"each seed must be there once, got {list(seeds)}")
        return seeds


def load_lab(path: Path) -> LabRecipe:
    """Read a lab recipe; the path of its recipe is absolute then.

    Raises:
        BadInputError: there is no such file, or it isn't TOML.
        RecipeError: it can't be used; every fault is named by its dotted key.

    """
    table = read_table(path)
    table.pop("schema", None)
    try:
        lab = LabRecipe.model_validate(table)
    except ValidationError as error:
        raise RecipeError(str(path), validation_problems(error, LabRecipe)) from error
    recipe = (path.parent / lab.recipe.expanduser()).resolve()
    problems = _problems(lab, recipe)
    if problems:
        raise RecipeError(str(path), problems)
    return lab.model_copy(update={"recipe": recipe})


def rewards_of(lab: LabRecipe) -> tuple[str, ...]:
    """The rewards that all cells train, in the recipe's order.

    Raises BadInputError if the recipe can't be read.
    """
    named = dict.fromkeys(_table_of(read_table(lab.recipe), "rewards"))
    return tuple(named | dict.fromkeys(_table_of(lab.set, "rewards")))


def _problems(lab: LabRecipe, recipe: Path) -> list[Problem]:
    found = []
    if not recipe.is_file():
        found.append(Problem("recipe", f"no such file: {recipe}"))
    if not (lab.methods or lab.specialists):
        found.append(
            Problem("methods", "there is none: add a table [methods.NAME], or specialists = true")
        )
    found += [
        Problem(f"methods.{name}", f"names that start with {SPECIALIST} are those of specialists")
        for name in lab.methods
        if name.startswith(SPECIALIST)
    ]
    for place, changes in (
        ("set", lab.set),
        *((f"methods.{n}", c) for n, c in lab.methods.items()),
    ):
        found += _seed_problems(place, changes)
    if lab.reference is not None and lab.reference not in lab.methods:
        hint = did_you_mean(lab.reference, lab.methods)
        message = f"no method {lab.reference!r}{hint}; choose from {one_of(lab.methods)}"
        found.append(Problem("reference", message))
    return found


def _seed_problems(place: str, changes: Mapping[str, Any]) -> list[Problem]:
    set_here = "seed" in _table_of(changes, "run") or "run.seed" in changes
    return [Problem(f"{place}.run.seed", "is given by seeds")] if set_here else []


def _table_of(table: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = table.get(name, {})
    return found if isinstance(found, Mapping) else {}
