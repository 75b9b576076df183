"""The run directory, written: what the training loop reports goes to its files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from marblecli.conflicts.record import ConflictRecord
from marblecli.errors import BadInputError
from marblecli.pictures.legend import Picture
from marblecli.runs import checkpoints
from marblecli.runs.atomic import clean_up, explaining_failure, write_text
from marblecli.runs.environment import describe_environment
from marblecli.runs.evaluations import evaluation_to_json
from marblecli.runs.json_lines import append_line, keep_until, to_json
from marblecli.runs.pictures import forget_later
from marblecli.runs.recipe import dump_recipe
from marblecli.runs.records import conflict_to_json
from marblecli.runs.run import Run
from marblecli.runs.samples import save_samples
from marblecli.runs.schema import stamped
from marblecli.settings import Recipe
from marblecli.types import EvaluationRecord, Json, Snapshot

if TYPE_CHECKING:
    from torch import Tensor


class RunRecorder:
    """Writes the files of one run directory; only one process may do so.

    Every write that fails raises MarbleError and leaves what was saved before as it was.
    """

    def __init__(self, run: Run, recipe: Recipe) -> None:
        self.run = run
        self._keep_last = recipe.checkpoint.keep_last

    @classmethod
    def create(cls, directory: Path, recipe: Recipe) -> RunRecorder:
        """Start a run directory. Raises BadInputError if something is there already."""
        if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
            raise BadInputError(
                f"{directory} isn't empty: continue its run with --resume or give another --run-dir"
            )
        run = Run(directory)
        with explaining_failure(directory, "give another --run-dir"):
            for folder in (run.samples_folder, run.checkpoints_folder):
                folder.mkdir(parents=True)
            environment = stamped(describe_environment())
            write_text(run.environment_file, to_json(environment, indent=1))
            # The recipe comes last: it is what makes the folder a run directory.
            write_text(run.recipe_file, dump_recipe(recipe))
        return cls(run, recipe)

    @classmethod
    def resume(cls, run: Run, recipe: Recipe, step: int) -> RunRecorder:
        """Continue a run after ``step``.

        Lines and pictures of later steps, lines that a kill cut short, and what a killed save left
        are dropped.
        """
        for folder in (run.directory, run.samples_folder, run.checkpoints_folder):
            with explaining_failure(folder):
                folder.mkdir(exist_ok=True)
                clean_up(folder)
        for path in (run.metrics_file, run.conflicts_file, run.evaluations_file):
            with explaining_failure(path):
                keep_until(path, step)
        with explaining_failure(run.samples_folder):
            forget_later(run.samples_folder, step)
        return cls(run, recipe)

    def step(self, metrics: Mapping[str, Json]) -> None:
        """Append one optimizer step, with its number as ``step``, to ``metrics.jsonl``."""
        _append(self.run.metrics_file, metrics)

    def conflict(self, record: ConflictRecord) -> None:
        """Append one measured batch to ``conflicts.jsonl``."""
        _append(self.run.conflicts_file, conflict_to_json(record))

    def evaluation(self, record: EvaluationRecord) -> None:
        """Append one evaluation to ``evaluations.jsonl``."""
        _append(self.run.evaluations_file, evaluation_to_json(record))

    def samples(
        self, record: EvaluationRecord, images: Mapping[str, Tensor]
    ) -> tuple[Picture, ...]:
        """Write the pictures of an evaluation to ``samples/``, with their captions as ``.json``.

        ``images`` are float32 [B, 3, H, W] in [0, 1] by split, in the order of the record's.
        """
        return save_samples(self.run.samples_folder, self._base(), record, images)

    def _base(self) -> EvaluationRecord | None:
        """The recorded evaluation of the base model, if it has the scores of every image."""
        recorded = self.run.evaluations()
        return next((each for each in recorded if each.subject == "base" and each.images), None)

    def checkpoint(self, snapshot: Snapshot) -> None:
        """Save the snapshot so that it is complete or absent, then delete the oldest ones."""
        saved = checkpoints.save_checkpoint(self.run.checkpoints_folder, snapshot)
        with explaining_failure(saved):
            checkpoints.prune_checkpoints(self.run.checkpoints_folder, self._keep_last)


def _append(path: Path, value: Mapping[str, Json]) -> None:
    with explaining_failure(path):
        append_line(path, stamped(value))
