from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from marblecli.errors import BadInputError, MarbleError
from marblecli.runs import tracking
from marblecli.runs.tracking import TRACKERS, TensorBoardRecorder, check_trackers, make_trackers
from marblecli.settings import TrackingSettings
from marblecli.train.recorder import Recorder
from support.recipes import load

TENSORBOARD = 'tracking.log_with=["tensorboard"]'


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """By name, the step and value of every scalar in the folder."""
    found = EventAccumulator(str(folder))
    found.Reload()
    return {
        name: [(event.step, event.value) for event in found.Scalars(name)]
        for name in found.Tags()["scalars"]
    }


def test_the_rewards_means_become_scalars(tmp_path: Path) -> None:
    tracker = TensorBoardRecorder(tmp_path)
    recorder: Recorder = tracker
    recorder.step({"step": 1, "rewards": {"ocr": 0.25, "aes": 4.0}, "gradient_norm": 2.0})
    recorder.step({"step": 2, "rewards": {"ocr": 0.5}})
    tracker.close()
    assert scalars(tmp_path) == {"reward/ocr": [(1, 0.25), (2, 0.5)], "reward/aes": [(1, 4.0)]}


def test_nothing_is_written_before_the_first_step(tmp_path: Path) -> None:
    TensorBoardRecorder(tmp_path / "run").close()
    assert not list(tmp_path.iterdir())


def test_a_recipe_gets_the_trackers_that_it_names(folder: Path) -> None:
    assert make_trackers(load(folder), folder / "run") == ()
    (tracker,) = make_trackers(load(folder, TENSORBOARD), folder / "run")
    tracker.step({"step": 1, "rewards": {"ocr": 0.5}})
    tracker.close()
    assert scalars(folder / "run" / "five") == {"reward/ocr": [(1, 0.5)]}


def test_a_tracker_that_isnt_installed_is_named_with_what_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_trackers(load(folder, TENSORBOARD))
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    check_trackers(load(folder))
    with pytest.raises(BadInputError, match=r"tensorboard isn't .*'marblecli\[tensorboard\]'"):
        check_trackers(load(folder, TENSORBOARD))


def test_a_folder_that_cant_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MarbleError, match=r"can't write .*file"):
        TensorBoardRecorder(tmp_path / "file" / "run").step({"step": 1, "rewards": {"ocr": 1.0}})


def test_every_tracker_that_a_recipe_may_name_is_there() -> None:
    annotation = TrackingSettings.model_fields["log_with"].annotation
    assert all(name in str(annotation) for name in TRACKERS)
    settings = TrackingSettings.model_validate({"log_with": list(TRACKERS)})
    assert settings.log_with == tuple(TRACKERS)
