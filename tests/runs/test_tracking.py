from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from accelerate import tracking as accelerate_tracking
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from marblecli.conflicts.record import ConflictRecord
from marblecli.errors import RecipeError
from marblecli.runs.tracking import Tracker, check_trackers, configuration, make_trackers
from marblecli.settings import TrackingSettings
from marblecli.settings.recipe import TrackerName
from marblecli.train.recorder import Recorder
from marblecli.types import EvaluationRecord, RewardChange, ScoredImage
from support.recipes import load

TENSORBOARD = 'tracking.log_with=["tensorboard"]'
CONFLICT = ConflictRecord(
    1, ("ocr",), (4,), (2.0,), ((4.0,),), (1.0,), (0.5,), {"applied": (0.75,)}
)
EVALUATION = EvaluationRecord(
    1, "trained", {"train": (ScoredImage("a cat", "plain", 0, 0, {"ocr": 0.5}),)}
)
CHANGES = {"train": (RewardChange("ocr", 0.25, 0.5, 0.125, 0.375, 0.25, 0.75, 8),)}


@dataclass(frozen=True)
class Picture:
    step: int
    kind: str
    path: Path


@pytest.fixture
def picture(tmp_path: Path) -> Picture:
    path = tmp_path / "strip.png"
    Image.fromarray(np.arange(8 * 16 * 3, dtype=np.uint8).reshape(8, 16, 3)).save(path)
    return Picture(1, "strip", path)


def tell_all(tracker: Any, picture: Picture) -> None:
    """Everything that a run has to say."""
    recorder: Recorder = tracker
    recorder.conflict(CONFLICT)
    recorder.step({"step": 1, "rewards": {"ocr": 0.25}, "coefficients": {"ocr": 0.5}})
    recorder.evaluation(EVALUATION)
    recorder.changes(1, CHANGES)
    tracker.pictures([picture])
    tracker.close()


@pytest.fixture
def said() -> list[str]:
    return []


def test_tensorboard_has_everything_under_its_name_and_the_pictures(
    folder: Path, picture: Picture, said: list[str]
) -> None:
    (tracker,) = make_trackers(load(folder, TENSORBOARD), folder / "run", said.append)
    tracker.start({"training.steps": 5})
    tell_all(tracker, picture)
    found = EventAccumulator(str(folder / "run" / "five"))
    found.Reload()
    scalars = {name: found.Scalars(name)[0].value for name in found.Tags()["scalars"]}
    assert scalars == {
        "norm/ocr": 2.0,
        "weight/ocr": 1.0,
        "cosine-applied/ocr": 0.75,
        "reward/ocr": 0.25,
        "coefficient/ocr": 0.5,
        "step/faults": 0.0,
        "eval-train/ocr": 0.5,
        "eval-train/ocr-low": 0.25,
        "eval-train/ocr-high": 0.75,
        "eval-train/ocr-change": 0.25,
        "eval-train/ocr-change-low": 0.125,
        "eval-train/ocr-change-high": 0.375,
    }
    (image,) = found.Images("pictures/strip")
    assert (image.width, image.height, image.step) == (16, 8, 1)
    assert said == []


def test_weights_and_biases_writes_offline_into_the_run_directory(
    folder: Path, picture: Picture, said: list[str]
) -> None:
    pytest.importorskip("wandb")
    recipe = load(folder, 'tracking.log_with=["wandb"]', 'tracking.wandb={mode="offline"}')
    (folder / "run").mkdir()
    (tracker,) = make_trackers(recipe, folder / "run", said.append)
    tracker.start(configuration(recipe))
    tell_all(tracker, picture)
    assert said == []
    (written,) = (folder / "run").glob("wandb/offline-run-*")
    assert list(written.glob("*.wandb"))
    assert list(written.glob("files/media/images/pictures/*.png"))


class StandIn(GeneralTracker):
    """A tracker that notes what it is told, and fails at what ``fails`` names."""

    name = "wandb"
    requires_logging_directory = False
    log_of: list[Any]
    fails: str = ""

    def __init__(self, run_name: str, **options: Any) -> None:
        super().__init__()
        self._note("init", run_name, options)

    @property
    def tracker(self) -> None:
        """Nothing."""

    def _note(self, what: str, *about: Any) -> None:
        if what == self.fails:
            raise ConnectionError("no route to host")
        self.log_of.append((what, *about))

    def start(self) -> None:
        self._note("start")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self._note("configuration", values)

    def log(self, values: dict[str, float], step: int | None = None, **_: Any) -> None:
        self._note("log", step, values)

    def log_images(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        ((name, images),) = values.items()
        self._note("images", step, name, [image.size for image in images])

    def finish(self) -> None:
        self._note("finish")


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    StandIn.log_of = []
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "wandb", StandIn)
    yield StandIn.log_of
    StandIn.fails = ""


def stand_in(folder: Path, said: list[str]) -> Tracker:
    recipe = load(folder, 'tracking.log_with=["wandb"]', 'tracking.wandb={mode="offline"}')
    (tracker,) = make_trackers(recipe, folder / "run", said.append)
    return tracker


def test_a_tracker_gets_its_options_the_recipe_and_the_pictures(
    folder: Path, picture: Picture, said: list[str], noted: list[Any]
) -> None:
    tracker = stand_in(folder, said)
    assert noted == [], "nothing is opened before the start"
    tracker.start({"training.steps": 5})
    tell_all(tracker, picture)
    defaults = {"dir": str(folder / "run"), "name": "run"}
    assert noted[:3] == [
        ("init", "five", {**defaults, "mode": "offline"}),
        ("start",),
        ("configuration", {"training.steps": 5}),
    ]
    assert ("images", 1, "pictures/strip", [(16, 8)]) in noted
    assert noted[-1] == ("finish",)
    assert said == []


@pytest.mark.parametrize("fails", ["init", "start", "configuration", "log", "images", "finish"])
def test_a_tracker_that_fails_is_left_out_after_one_line(
    fails: str, folder: Path, picture: Picture, said: list[str], noted: list[Any]
) -> None:
    StandIn.fails = fails
    tracker = stand_in(folder, said)
    tracker.start({})
    tell_all(tracker, picture)
    tell_all(tracker, picture)
    assert said == ["tracking: wandb failed and is left out: ConnectionError: no route to host"]
    told = [line[0] for line in noted]
    assert fails not in told
    assert told.count("log") == (0 if fails in {"init", "start", "configuration", "log"} else 4)


def test_a_tracker_without_pictures_gets_none(
    folder: Path,
    picture: Picture,
    said: list[str],
    noted: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(StandIn, "log_images")
    tracker = stand_in(folder, said)
    tracker.start({})
    tell_all(tracker, picture)
    assert said == []


def test_a_recipe_that_names_none_has_none(folder: Path, said: list[str]) -> None:
    assert make_trackers(load(folder), folder / "run", said.append) == ()


def test_every_tracker_that_isnt_installed_is_named_with_the_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_trackers(folder / "recipe.toml", load(folder, TENSORBOARD))
    monkeypatch.setattr(accelerate_tracking, "get_available_trackers", list)
    check_trackers(folder / "recipe.toml", load(folder))
    with pytest.raises(RecipeError) as caught:
        check_trackers(folder / "r.toml", load(folder, 'tracking.log_with=["wandb", "aim"]'))
    first, second = str(caught.value).splitlines()
    assert first.endswith(
        "tracking.log_with: wandb isn't installed; install it with: pip install wandb, or leave "
        "it out"
    )
    assert "pip install 'aim<4'" in second


def test_the_recipe_knows_all_of_accelerates_trackers_and_has_options_for_each() -> None:
    assert set(get_args(TrackerName)) == set(LOGGER_TYPE_TO_CLASS)
    assert TrackingSettings.model_fields.keys() == {"log_with", *LOGGER_TYPE_TO_CLASS}


def test_an_unknown_tracker_is_a_fault_of_the_recipe(folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"tracking\.log_with\.0: must be 'aim', "):
        load(folder, 'tracking.log_with=["tensorbord"]')


def test_the_recipe_is_handed_over_in_plain_values(folder: Path) -> None:
    found = configuration(load(folder))
    assert found["training.steps"] == 5
    assert found["rewards.read.sources"] == "['ocr']"
    assert all(isinstance(value, (bool, int, float, str)) for value in found.values())
