"""The run directory, read: the one place that knows its files and what each of them holds.

==================  ==========================================================
recipe.toml         the recipe, resolved
environment.json    versions, platform, device
metrics.jsonl       one line for each optimizer step
conflicts.jsonl     one line for each measured batch
evaluations.jsonl   one line for each evaluation, with every image's scores
samples/            grids of images, each with its prompts
checkpoints/        step-000100/: safetensors and state.json
export/             the trained weights for other tools, and their model card
==================  ==========================================================

All of them say ``schema = 1``; see :mod:`marblecli.runs.schema`. :class:`RunRecorder` writes them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marblecli.conflicts.record import ConflictRecord
from marblecli.errors import BadInputError
from marblecli.runs import checkpoints
from marblecli.runs.atomic import explaining_failure, restore_replaced
from marblecli.runs.evaluations import read_evaluations
from marblecli.runs.json_lines import read_lines
from marblecli.runs.recipe import CheckReward, load_recipe, read_table
from marblecli.runs.records import read_conflicts
from marblecli.runs.run_balance import RunBalance, read_balance
from marblecli.runs.samples import SampleGrid, read_samples
from marblecli.runs.schema import KEY, check_schema
from marblecli.settings import Recipe
from marblecli.types import EvaluationRecord, Json, Snapshot

if TYPE_CHECKING:
    from torch import Tensor


RECIPE = "recipe.toml"
AVERAGE = "ema"
"""The stem of a checkpoint's file with the moving average of the trained weights."""


class Run:
    """What a run directory holds, each file read when it is asked for.

    Files are independent of one another: a directory that only has some of them, or a recipe of
    another version, can still be asked for the rest. Every method raises BadInputError, in one
    line that names the file, for what is broken or written by a newer version.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.recipe_file = directory / RECIPE
        self.environment_file = directory / "environment.json"
        self.metrics_file = directory / "metrics.jsonl"
        self.conflicts_file = directory / "conflicts.jsonl"
        self.evaluations_file = directory / "evaluations.jsonl"
        self.samples_folder = directory / "samples"
        self.checkpoints_folder = directory / "checkpoints"
        self.export_folder = directory / "export"

    @classmethod
    def open(cls, directory: Path) -> Run:
        """The run in a directory that must be one. Raises BadInputError if it has no recipe."""
        run = cls(directory)
        if not run.recipe_file.is_file():
            raise BadInputError(f"{directory} is no run directory: it has no recipe.toml")
        with explaining_failure(run.checkpoints_folder):
            # A process that was killed while it replaced a checkpoint has set the whole one aside.
            restore_replaced(run.checkpoints_folder)
        return run

    def recipe(self, check_reward: CheckReward) -> Recipe:
        """The whole recipe, validated; see :func:`marblecli.runs.recipe.load_recipe`."""
        return load_recipe(self.recipe_file, [], check_reward)

    def balance(self) -> RunBalance | None:
        """How the run was balanced; None if there is no recipe.

        The rest of the recipe may be of another version, or name files that are gone.
        """
        if not self.recipe_file.is_file():
            return None
        table = read_table(self.recipe_file)
        check_schema(table.get(KEY), self.recipe_file)
        return read_balance(table, self.recipe_file)

    def environment(self) -> Mapping[str, Json]:
        """What the run was started on; empty if that wasn't written."""
        path = self.environment_file
        if not path.is_file():
            return {}
        try:
            found: Any = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadInputError(f"{path}: isn't JSON: {error}") from error
        if not isinstance(found, dict):
            raise BadInputError(f"{path}: expected an object")
        check_schema(found.pop(KEY, None), path)
        return found

    def metrics(self) -> tuple[Mapping[str, Json], ...]:
        """The optimizer steps in order, as ``metrics.jsonl`` has them."""
        return tuple(read_lines(self.metrics_file))

    def conflicts(self) -> tuple[ConflictRecord, ...]:
        """The measured batches in order; there must be at least one."""
        return read_conflicts(self.directory)

    def evaluations(self) -> tuple[EvaluationRecord, ...]:
        """The evaluations in order. Those of older runs have no images, but their means."""
        return read_evaluations(self.evaluations_file)

    def samples(self) -> tuple[SampleGrid, ...]:
        """The pictures with their prompts, by step and split."""
        return read_samples(self.samples_folder)

    def checkpoints(self) -> list[Path]:
        """The folders of all whole checkpoints, oldest first."""
        return checkpoints.list_checkpoints(self.checkpoints_folder)

    def latest_checkpoint(self) -> Path:
        """The newest whole checkpoint. Raises BadInputError if there is none."""
        found = self.checkpoints()
        if not found:
            raise BadInputError(f"{self.checkpoints_folder} holds no whole checkpoint: train anew")
        return found[-1]

    def checkpoint(self, step: int | None) -> Path:
        """The folder of the whole checkpoint of that step; the newest one's without a step.

        Raises BadInputError, which names those that there are.
        """
        if step is None:
            return self.latest_checkpoint()
        found = {path.name: path for path in self.checkpoints()}
        name = checkpoints.checkpoint_name(step)
        if name not in found:
            raise BadInputError(
                f"{self.checkpoints_folder} has no whole checkpoint of step {step}; there are "
                + (", ".join(found) or "none")
            )
        return found[name]

    def load_weights(self, path: Path, stem: str) -> Mapping[str, Tensor]:
        """Read one file of a checkpoint folder: ``trained``, ``old`` or ``ema``.

        Raises BadInputError if it can't be read.
        """
        return checkpoints.load_checkpoint(path, (stem,)).tensors[stem]

    def load_average(self, path: Path) -> Mapping[str, Tensor]:
        """Read a checkpoint folder's averaged weights and nothing else of it.

        Raises BadInputError if they can't be read.
        """
        return self.load_weights(path, AVERAGE)

    def load_checkpoint(self, path: Path) -> Snapshot:
        """Read a checkpoint folder. Raises BadInputError if it isn't whole."""
        return checkpoints.load_checkpoint(path)
