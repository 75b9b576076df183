"""Experiment trackers: accelerate's, as recorders that are told what the run directory is told.

A tracker is another's program, which may need a network: if it fails, that is said once, and the
run goes on without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marblecli.conflicts.record import ConflictRecord
from marblecli.errors import Problem, RecipeError
from marblecli.pictures.legend import Picture
from marblecli.plugins import one_line
from marblecli.runs.recipe import recipe_table
from marblecli.runs.tracked_values import (
    Values,
    change_values,
    conflict_values,
    evaluation_values,
    step_values,
)
from marblecli.runs.unrecorded import Unrecorded
from marblecli.settings import Recipe
from marblecli.types import EvaluationRecord, Json, RewardChange

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

_TENSORBOARD, _AIM, _CLEARML = "tensorboard", "aim", "clearml"
_PACKAGES = {_AIM: "'aim<4'"}
"""What pip is to install, where that isn't the tracker's name."""


class Tracker(Unrecorded):
    """One tracker of accelerate.

    ``open_it`` starts it. ``tell`` is called with one line if it fails; from then on, it is told
    nothing.
    """

    def __init__(
        self, name: str, open_it: Callable[[], GeneralTracker], tell: Callable[[str], None]
    ) -> None:
        self._name = name
        self._open = open_it
        self._tell = tell
        self._tracker: GeneralTracker | None = None

    def start(self, configuration: Mapping[str, Json]) -> None:
        """Open it, and hand over the recipe, by dotted key. Needs accelerate to be set up."""

        def opened() -> None:
            self._tracker = self._open()
            # TensorBoard would show the recipe as a run of its own.
            if self._name != _TENSORBOARD:
                self._tracker.store_init_configuration(dict(configuration))

        self._try(opened)

    def step(self, metrics: Mapping[str, Json]) -> None:
        """Report one optimizer step."""
        self._log(metrics["step"], step_values(metrics))

    def conflict(self, record: ConflictRecord) -> None:
        """Report one measured batch."""
        self._log(record.step, conflict_values(record))

    def evaluation(self, record: EvaluationRecord) -> None:
        """Report one evaluation."""
        self._log(record.step, evaluation_values(record))

    def changes(self, step: int, changes: Mapping[str, tuple[RewardChange, ...]]) -> None:
        """Report every reward's change since the base model, by split."""
        self._log(step, change_values(changes))

    def pictures(self, drawn: Sequence[Picture]) -> None:
        """Report pictures, if the tracker takes any."""
        tracker = self._tracker
        if tracker is None or not hasattr(tracker, "log_images"):
            return
        for picture in drawn:
            self._try(partial(self._log_image, tracker, picture))

    def close(self) -> None:
        """Finish it."""
        if self._tracker is not None:
            self._try(self._tracker.finish)
            self._tracker = None

    def _log(self, step: int, values: Values) -> None:
        tracker = self._tracker
        if tracker is not None and values:
            self._try(lambda: tracker.log(dict(values), step=step))

    def _log_image(self, tracker: GeneralTracker, picture: Picture) -> None:
        import numpy as np
        from PIL import Image

        with Image.open(picture.path) as found:
            pixels = np.asarray(found.convert("RGB"))
        key = f"pictures/{picture.kind}"
        if self._name == _TENSORBOARD:
            tracker.log_images({key: pixels[None]}, step=picture.step, dataformats="NHWC")
        elif self._name in {_AIM, _CLEARML}:
            tracker.log_images({key: Image.fromarray(pixels)}, step=picture.step)
        else:
            tracker.log_images({key: [Image.fromarray(pixels)]}, step=picture.step)

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - whatever fails in a tracker, the run goes on
            self._tracker = None
            self._tell(f"tracking: {self._name} failed and is left out: {one_line(error)}")


def check_trackers(path: Path, recipe: Recipe) -> None:
    """Raise RecipeError, with the command, for every tracker whose package isn't installed.

    ``path`` is the recipe's.
    """
    if not recipe.tracking.log_with:
        return
    from accelerate.tracking import get_available_trackers

    installed = {str(name) for name in get_available_trackers()}
    missing = [name for name in recipe.tracking.log_with if name not in installed]
    if missing:
        problems = [
            Problem(
                "tracking.log_with",
                f"{name} isn't installed; install it with: "
                f"pip install {_PACKAGES.get(name, name)}, or leave it out",
            )
            for name in missing
        ]
        raise RecipeError(str(path), problems)


def make_trackers(
    recipe: Recipe, run_dir: Path, tell: Callable[[str], None]
) -> tuple[Tracker, ...]:
    """One recorder for each tracker that the recipe names; see :func:`check_trackers`.

    What they write to files is in the run directory, unless their options say otherwise.
    """
    return tuple(
        Tracker(name, _opener(name, recipe, run_dir.absolute()), tell)
        for name in recipe.tracking.log_with
    )


def configuration(recipe: Recipe) -> dict[str, Json]:
    """The recipe by dotted key, in values that every tracker takes; lists are text."""
    return dict(_flat(recipe_table(recipe), ""))


def _flat(value: Json, key: str) -> list[tuple[str, Json]]:
    if isinstance(value, Mapping):
        dot = f"{key}." if key else ""
        return [pair for name, item in value.items() for pair in _flat(item, f"{dot}{name}")]
    return [(key, value if isinstance(value, (bool, int, float, str)) else str(value))]


def _opener(name: str, recipe: Recipe, run_dir: Path) -> Callable[[], GeneralTracker]:
    def open_it() -> GeneralTracker:
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        kind = LOGGER_TYPE_TO_CLASS[name]
        folder = [str(run_dir)] if kind.requires_logging_directory else []
        options = {**_defaults(name, run_dir), **recipe.tracking.options(name)}
        tracker = kind(recipe.run.name, *folder, **options)
        tracker.start()
        return tracker

    return open_it


def _defaults(name: str, run_dir: Path) -> dict[str, Any]:
    """What keeps a tracker's files in the run directory, where it would write elsewhere."""
    return {
        "wandb": {"dir": str(run_dir), "name": run_dir.name},
        "dvclive": {"dir": str(run_dir / "dvclive")},
        "swanlab": {"logdir": str(run_dir / "swanlog")},
    }.get(name, {})
