"""The grid of a lab: one cell for each method and seed, an ordinary ``marble train``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marblecli.lab.recipe import SPECIALIST, LabRecipe, rewards_of
from marblecli.runs.toml_values import dotted_values, format_value


@dataclass(frozen=True)
class Cell:
    """One run of the lab."""

    method: str
    seed: int
    recipe: Path
    overrides: tuple[str, ...]
    """``KEY=VALUE``, as ``--set`` takes them."""
    directory: Path
    """The run directory."""

    @property
    def name(self) -> str:
        """``METHOD-seedN``, which is the run directory's name, too."""
        return self.directory.name

    @property
    def train(self) -> tuple[str, ...]:
        """The arguments of ``marble`` that start the cell."""
        sets = (word for override in self.overrides for word in ("--set", override))
        return ("train", str(self.recipe), *sets, "--run-dir", str(self.directory))

    @property
    def resume(self) -> tuple[str, ...]:
        """The arguments of ``marble`` that continue the cell."""
        return ("resume", str(self.directory))

    @property
    def command(self) -> str:
        """The command that starts the cell, as one types it."""
        return shlex.join(["marble", *self.train])


def methods_of(lab: LabRecipe) -> dict[str, tuple[str, ...]]:
    """By method, what it changes, specialists last. Raises BadInputError without their recipe."""
    found = {name: overrides(changes) for name, changes in lab.methods.items()}
    if lab.specialists:
        for reward in rewards_of(lab):
            alone = {"balance": {"method": "single", "reward": reward}}
            found[SPECIALIST + reward] = overrides(alone)
    return found


def make_cells(lab: LabRecipe, folder: Path, more: Sequence[str] = ()) -> tuple[Cell, ...]:
    """All cells, seed by seed, so that a lab that is stopped has compared all methods.

    ``more`` are overrides of all cells, from the command line; they go last.
    """
    shared = overrides(lab.set)
    return tuple(
        Cell(
            method=method,
            seed=seed,
            recipe=lab.recipe,
            overrides=(*shared, *changes, f"run.seed={seed}", f"run.name={method}", *more),
            directory=folder / "cells" / f"{method}-seed{seed}",
        )
        for seed in lab.seeds
        for method, changes in methods_of(lab).items()
    )


def overrides(changes: Mapping[str, Any]) -> tuple[str, ...]:
    """Nested tables of changes as ``KEY=VALUE``."""
    return tuple(f"{key}={format_value(value)}" for key, value in dotted_values(changes))
