"""The run directory: what a run leaves behind, and what it continues from.

==================  ==========================================================
recipe.toml         the recipe, resolved
environment.json    versions, platform, device
metrics.jsonl       one line an optimizer step
conflicts.jsonl     one line a measured batch
evaluations.jsonl   one line an evaluation
samples/            grids of images, each with its prompts
checkpoints/        step-000100/: safetensors and state.json
==================  ==========================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from marblecli.errors import BadInputError
from marblecli.runs import checkpoints
from marblecli.runs.atomic import (
    clean_up,
    explaining_failure,
    replacing,
    restore_replaced,
    write_text,
)
from marblecli.runs.json_lines import append_line, keep_until, to_json
from marblecli.runs.records import conflict_to_json, evaluation_to_json
from marblecli.runs.samples import grid_columns, save_grid
from marblecli.types import ConflictRecord, EvaluationRecord, Json, Prompt, Snapshot

if TYPE_CHECKING:
    from torch import Tensor


class RunStore:
    """A run directory that one process writes to; the ``Recorder`` of the training loop.

    Every write that fails raises MarbleError and leaves what was saved before as it was.
    """

    def __init__(self, directory: Path, keep_last: int) -> None:
        self.directory = directory
        self.recipe = directory / "recipe.toml"
        self.metrics = directory / "metrics.jsonl"
        self.conflicts = directory / "conflicts.jsonl"
        self.evaluations = directory / "evaluations.jsonl"
        self._samples = directory / "samples"
        self._checkpoints = directory / "checkpoints"
        self._keep_last = keep_last

    @classmethod
    def create(
        cls,
        directory: Path,
        recipe_toml: str,
        environment: Mapping[str, Json],
        keep_last: int = 3,
    ) -> RunStore:
        """Start a run directory. Raises BadInputError if something is there already."""
        if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
            raise BadInputError(
                f"{directory} isn't empty: continue its run with --resume or give another --run-dir"
            )
        store = cls(directory, keep_last)
        with explaining_failure(directory, "give another --run-dir"):
            for folder in (store._samples, store._checkpoints):
                folder.mkdir(parents=True)
            write_text(directory / "environment.json", to_json(environment, indent=1))
            # The recipe comes last: it is what makes the folder a run directory.
            write_text(store.recipe, recipe_toml)
        return store

    @classmethod
    def open(cls, directory: Path, keep_last: int = 3) -> RunStore:
        """Open a run directory, to read it or (after :meth:`rewind`) to continue it.

        Raises BadInputError if it is none.
        """
        store = cls(directory, keep_last)
        if not store.recipe.is_file():
            raise BadInputError(f"{directory} is no run directory: it has no recipe.toml")
        with explaining_failure(directory):
            restore_replaced(store._checkpoints)
        return store

    def step(self, metrics: Mapping[str, Json]) -> None:
        """Append one optimizer step, with its number as ``step``, to ``metrics.jsonl``."""
        _append(self.metrics, metrics)

    def conflict(self, record: ConflictRecord) -> None:
        """Append one measured batch to ``conflicts.jsonl``."""
        _append(self.conflicts, conflict_to_json(record))

    def evaluation(self, record: EvaluationRecord) -> None:
        """Append one evaluation to ``evaluations.jsonl``."""
        _append(self.evaluations, evaluation_to_json(record))

    def samples(self, step: int, split: str, prompts: Sequence[Prompt], images: Tensor) -> None:
        """Write ``samples/step-000100-SPLIT.png``, and its prompts row by row as ``.json``.

        ``images`` is float32 [B, 3, H, W] in [0, 1]; there is one prompt for each.
        """
        path = self._samples / f"step-{step:06d}-{split}.png"
        columns = grid_columns([prompt.text for prompt in prompts])
        legend = {
            "step": step,
            "split": split,
            "columns": columns,
            "prompts": [{"prompt": prompt.text, "source": prompt.source} for prompt in prompts],
        }
        with explaining_failure(path):
            with replacing(path) as draft:
                save_grid(draft, images, columns)
            write_text(path.with_suffix(".json"), to_json(legend, indent=1))

    def checkpoint(self, snapshot: Snapshot) -> None:
        """Save the snapshot so that it is complete or absent, then delete the oldest ones."""
        saved = checkpoints.save_checkpoint(self._checkpoints, snapshot)
        with explaining_failure(saved):
            checkpoints.prune_checkpoints(self._checkpoints, self._keep_last)

    def latest_checkpoint(self) -> Path:
        """The newest whole checkpoint. Raises BadInputError if there is none."""
        found = checkpoints.list_checkpoints(self._checkpoints)
        if not found:
            raise BadInputError(f"{self._checkpoints} holds no whole checkpoint: train anew")
        return found[-1]

    def load_checkpoint(self, path: Path) -> Snapshot:
        """Read a checkpoint folder. Raises BadInputError if it isn't whole."""
        return checkpoints.load_checkpoint(path)

    def rewind(self, step: int) -> None:
        """Make ready to continue after ``step``; only for the run's one writer.

        Drops the lines of later steps, lines torn by a kill, and what a killed save left.
        """
        for folder in (self.directory, self._samples, self._checkpoints):
            with explaining_failure(folder):
                folder.mkdir(exist_ok=True)
                clean_up(folder)
        for path in (self.metrics, self.conflicts, self.evaluations):
            with explaining_failure(path):
                keep_until(path, step)


def _append(path: Path, value: Mapping[str, Json]) -> None:
    with explaining_failure(path):
        append_line(path, value)
