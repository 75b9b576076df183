"""Experiment trackers: recorders that are told the rewards' means at every step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from marblecli.errors import BadInputError
from marblecli.runs.atomic import explaining_failure
from marblecli.runs.unrecorded import Unrecorded
from marblecli.settings import Recipe
from marblecli.types import Json

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoardRecorder(Unrecorded):
    """Writes the scalars ``reward/NAME`` to ``folder``, for TensorBoard."""

    def __init__(self, folder: Path) -> None:
        """Writes nothing before the first step."""
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def step(self, metrics: Mapping[str, Json]) -> None:
        """Write the mean of every reward that applied to an image of the step."""
        from torch.utils.tensorboard import SummaryWriter

        with explaining_failure(self._folder):
            if self._writer is None:
                self._writer = SummaryWriter(str(self._folder))
            for name, mean in metrics["rewards"].items():
                self._writer.add_scalar(f"reward/{name}", mean, global_step=metrics["step"])
            self._writer.flush()

    def close(self) -> None:
        """Write what is left and close the file."""
        if self._writer is not None:
            self._writer.close()


TRACKERS: Mapping[str, Callable[[Path], TensorBoardRecorder]] = {"tensorboard": TensorBoardRecorder}
"""By the name in ``tracking.log_with``, which is also the package's; each writes to a folder."""


def check_trackers(recipe: Recipe) -> None:
    """Raise BadInputError if the package of a tracker that the recipe names isn't installed."""
    for name in recipe.tracking.log_with:
        if find_spec(name) is None:
            raise BadInputError(
                f"tracking.log_with: {name} isn't installed; install it with: "
                f"pip install 'marblecli[{name}]', or set tracking.log_with=[]"
            )


def make_trackers(recipe: Recipe, run_dir: Path) -> tuple[TensorBoardRecorder, ...]:
    """One recorder for each tracker that the recipe names; see :func:`check_trackers`.

    They write to a folder of the run directory that is named ``run.name``.
    """
    return tuple(TRACKERS[name](run_dir / recipe.run.name) for name in recipe.tracking.log_with)
