"""What an evaluation is of: a run, by its newest checkpoint, or one of its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from marblecli.errors import BadInputError
from marblecli.runs.run import Run
from marblecli.types import Json

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Target:
    """Weights that can be evaluated."""

    label: str
    """As the user typed it."""
    run: Run
    checkpoint: Path

    @property
    def step(self) -> int:
        """The optimizer step after which the weights were saved."""
        return int(self.checkpoint.name.rpartition("-")[2])

    def weights(self) -> Mapping[str, Tensor]:
        """The averaged weights, by the names of the trained parameters."""
        return self.run.load_average(self.checkpoint)

    def identity(self) -> Json:
        """What is the same only as long as the weights are."""
        file = (self.checkpoint / "ema.safetensors").stat()
        return {"checkpoint": str(self.checkpoint), "bytes": file.st_size, "ns": file.st_mtime_ns}


def find_target(path: Path) -> Target:
    """The run or the checkpoint at ``path``.

    Raises BadInputError if it is neither, or if the run has no whole checkpoint.
    """
    if (path / "recipe.toml").is_file():
        run = Run.open(path)
        return Target(str(path), run, run.latest_checkpoint())
    home = path.absolute().parent.parent
    if (path / "state.json").is_file() and (home / "recipe.toml").is_file():
        run = Run.open(home)
        if path.name not in [found.name for found in run.checkpoints()]:
            raise BadInputError(f"{path}: no whole checkpoint")
        return Target(str(path), run, path)
    what = "isn't there" if not path.exists() else "is neither a run nor a checkpoint of one"
    raise BadInputError(
        f"{path} {what}: give a run directory, or a folder RUN_DIR/checkpoints/step-..."
    )
