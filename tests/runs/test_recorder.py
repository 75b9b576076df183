from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import torch

from marblecli.conflicts.record import ConflictRecord
from marblecli.errors import BadInputError, MarbleError
from marblecli.runs.recipe import dump_recipe
from marblecli.runs.recorder import Resumption, RunRecorder
from marblecli.runs.run import Run
from marblecli.settings import Recipe
from marblecli.train.recorder import Recorder
from marblecli.types import EvaluationRecord, ScoredImage, Snapshot
from support.recipes import load


@pytest.fixture
def recipe(folder: Path) -> Recipe:
    return load(folder, "checkpoint.keep_last=2")


@pytest.fixture
def recorder(tmp_path: Path, recipe: Recipe) -> RunRecorder:
    return RunRecorder.create(tmp_path / "run", recipe)


def snapshot(step: int) -> Snapshot:
    return Snapshot(step, {"trained": {"a": torch.full((2,), float(step))}}, {"seed": 1})


def conflict(step: int) -> ConflictRecord:
    return ConflictRecord(
        step=step,
        rewards=("a", "b"),
        valid=(4, 2),
        norms=(1.0, 2.0),
        gram=((1.0, -0.5), (-0.5, 4.0)),
        simplex_weights=(0.5, 0.5),
        coefficients=(0.75, 0.375),
        cosines={"applied": (0.6, None)},
    )


def evaluation(step: int) -> EvaluationRecord:
    image = ScoredImage("a cat", "plain", 0, 0, {"a": 0.5, "b": None})
    return EvaluationRecord(step, "trained", {"train": (image,)})


BASE = EvaluationRecord(
    0, "base", {"train": (ScoredImage("a cat", "plain", 0, 0, {"a": 0.25, "b": None}),)}
)


def steps(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_is_a_recorder(recorder: RunRecorder) -> None:
    found: Recorder = recorder
    assert found is recorder


def test_a_new_directory_says_what_runs_and_where(recorder: RunRecorder, recipe: Recipe) -> None:
    run = recorder.run
    assert run.recipe_file.read_text() == dump_recipe(recipe)
    environment = json.loads(run.environment_file.read_text())
    assert environment["schema"] == 1
    assert environment["packages"]["marblecli"]


def test_a_directory_that_isnt_empty_is_refused(recorder: RunRecorder, recipe: Recipe) -> None:
    with pytest.raises(BadInputError, match=r"isn't empty.*marble resume.*--run-dir"):
        RunRecorder.create(recorder.run.directory, recipe)


def test_a_file_in_its_place_is_refused(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(BadInputError, match="--run-dir"):
        RunRecorder.create(tmp_path / "run", recipe)


def test_an_empty_directory_is_taken(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "run").mkdir()
    assert RunRecorder.create(tmp_path / "run", recipe).run.recipe_file.exists()


def test_a_directory_that_cant_be_made_is_one_line(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MarbleError, match=r"can't write .*; give another --run-dir"):
        RunRecorder.create(tmp_path / "file" / "run", recipe)


def test_every_record_is_a_line_of_its_file(recorder: RunRecorder) -> None:
    run = recorder.run
    recorder.step({"step": 1, "loss": float("nan")})
    recorder.conflict(conflict(1))
    recorder.evaluation(evaluation(1))
    assert json.loads(run.metrics_file.read_text()) == {"schema": 1, "step": 1, "loss": None}
    line = json.loads(run.conflicts_file.read_text())
    assert line["schema"] == 1
    assert line["gram"] == [[1.0, -0.5], [-0.5, 4.0]]
    assert line["cosines"] == {"applied": [0.6, None]}
    line = json.loads(run.evaluations_file.read_text())
    assert (line["schema"], line["train"]) == (1, {"a": 0.5})


def test_every_file_says_its_schema(recorder: RunRecorder) -> None:
    recorder.step({"step": 1})
    recorder.conflict(conflict(1))
    recorder.evaluation(evaluation(1))
    recorder.samples(BASE, {"train": torch.rand(1, 3, 8, 8)})
    recorder.checkpoint(snapshot(1))
    files = [path for path in recorder.run.directory.rglob("*") if path.is_file()]
    for path in files:
        if path.suffix in {".json", ".jsonl"}:
            assert json.loads(path.read_text())["schema"] == 1
        else:
            # A picture has its legend, and tensors their state.json.
            assert path.suffix in {".toml", ".png", ".safetensors"}
    assert {path.suffix for path in files} == {".json", ".jsonl", ".toml", ".png", ".safetensors"}


def test_base_and_trained_images_are_compared_also_after_a_resume(
    recorder: RunRecorder, recipe: Recipe
) -> None:
    recorder.evaluation(BASE)
    recorder.samples(BASE, {"train": torch.rand(1, 3, 16, 16)})
    resumed = RunRecorder.resume(recorder.run, recipe, Resumption(0))
    resumed.evaluation(evaluation(1))
    strip = resumed.samples(evaluation(1), {"train": torch.rand(1, 3, 16, 16)})[0]
    (cell,) = strip.cells
    assert cell.base
    assert cell.now
    assert cell.rewards["a"].change == 0.25


def test_pictures_of_later_steps_are_dropped_on_resume(
    recorder: RunRecorder, recipe: Recipe
) -> None:
    recorder.samples(evaluation(3), {"train": torch.rand(1, 3, 16, 16)})
    RunRecorder.resume(recorder.run, recipe, Resumption(2))
    assert recorder.run.pictures() == ()


def test_the_oldest_checkpoints_are_deleted(recorder: RunRecorder) -> None:
    for step in (1, 2, 3):
        recorder.checkpoint(snapshot(step))
    assert names(recorder.run.checkpoints_folder) == ["step-000002", "step-000003"]


def test_nothing_is_pruned_when_the_new_checkpoint_fails(
    recorder: RunRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1, 2):
        recorder.checkpoint(snapshot(step))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MarbleError, match=r"No space left on device; .*marble resume"):
        recorder.checkpoint(snapshot(3))
    assert names(recorder.run.checkpoints_folder) == ["step-000001", "step-000002"]


def test_resuming_drops_what_came_after_the_checkpoint(
    recorder: RunRecorder, recipe: Recipe
) -> None:
    for step in (1, 2, 3):
        recorder.step({"step": step})
        recorder.conflict(conflict(step))
        recorder.evaluation(evaluation(step))
    with recorder.run.metrics_file.open("a") as file:
        file.write('{"step": 4, "lo')
    draft = recorder.run.checkpoints_folder / ".unfinished-step-000003"
    draft.mkdir()
    run = Run.open(recorder.run.directory)
    assert draft.exists(), "opening must not disturb a run that is still writing"
    again = RunRecorder.resume(run, recipe, Resumption(2))
    assert not draft.exists()
    for path in (run.metrics_file, run.conflicts_file, run.evaluations_file):
        assert steps(path) == [1, 2]
    again.step({"step": 3})
    assert steps(run.metrics_file) == [1, 2, 3]


def test_a_resumed_run_has_the_new_recipe_and_says_what_changed(
    recorder: RunRecorder, recipe: Recipe
) -> None:
    run = recorder.run
    longer = recipe.model_copy(update={"training": recipe.training.model_copy(update={"steps": 9})})
    RunRecorder.resume(run, longer, Resumption(2, {"training.steps": (5, 9)}))
    RunRecorder.resume(run, longer, Resumption(3))
    assert run.recipe_file.read_text() == dump_recipe(longer)
    first, second = run.history()
    assert (first["step"], first["changed"]) == (2, {"training.steps": {"from": 5, "to": 9}})
    assert (second["step"], second["changed"]) == (3, {})


def test_evaluations_that_new_ones_cant_be_compared_with_are_set_aside(
    recorder: RunRecorder, recipe: Recipe
) -> None:
    run = recorder.run
    for step in (0, 2, 3):
        recorder.evaluation(evaluation(step))
    again = RunRecorder.resume(run, recipe, Resumption(2, evaluate_anew=True))
    assert steps(run.directory / "evaluations-until-000002.jsonl") == [0, 2]
    again.evaluation(evaluation(0))
    assert steps(run.evaluations_file) == [0]


def test_a_full_disk_while_logging_is_one_line(
    recorder: RunRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(MarbleError, match=r"can't write .*metrics\.jsonl: No space left"):
        recorder.step({"step": 1})
