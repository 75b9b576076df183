from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from marblecli.conflicts.record import ConflictRecord
from marblecli.errors import BadInputError
from marblecli.runs.recorder import RunRecorder
from marblecli.runs.run import Run
from marblecli.types import EvaluationRecord, ScoredImage, Snapshot
from support.recipes import accept, load

CONFLICT = ConflictRecord(1, ("a",), (4,), (1.0,), ((1.0,),), (1.0,), (1.0,), {"applied": (1.0,)})
EVALUATION = EvaluationRecord(
    step=1,
    subject="trained",
    images={"train": (ScoredImage("a cat", "plain", 0, 0, {"a": 0.25, "b": None}),)},
    seed=7,
)


@pytest.fixture
def recorder(folder: Path) -> RunRecorder:
    return RunRecorder.create(folder / "run", load(folder))


def test_what_is_recorded_is_read_back(recorder: RunRecorder, folder: Path) -> None:
    recorder.step({"step": 1, "rewards": {"a": 0.5}})
    recorder.conflict(CONFLICT)
    recorder.evaluation(EVALUATION)
    drawn = recorder.samples(EVALUATION, {"train": torch.rand(1, 3, 8, 8)})
    recorder.checkpoint(Snapshot(1, {"trained": {"a": torch.ones(2)}}, {"faults": 0}))
    run = Run.open(folder / "run")
    assert run.recipe(accept) == load(folder)
    assert run.environment()["packages"]["marblecli"]
    assert run.metrics() == ({"schema": 1, "step": 1, "rewards": {"a": 0.5}},)
    assert run.conflicts() == (CONFLICT,)
    assert run.evaluations() == (EVALUATION,)
    assert run.pictures() == drawn
    assert [picture.path.is_file() for picture in drawn] == [True]
    assert [path.name for path in run.checkpoints()] == ["step-000001"]
    assert run.load_checkpoint(run.latest_checkpoint()).state == {"faults": 0}


def test_another_directory_cant_be_opened(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no run directory: it has no recipe\.toml"):
        Run.open(tmp_path)


def test_a_directory_with_some_of_the_files_tells_what_they_hold(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    run = Run(tmp_path)
    assert run.metrics() == ({"step": 1},)
    assert run.balance() is None
    assert run.environment() == {}
    assert run.evaluations() == run.pictures() == ()
    assert run.checkpoints() == []
    with pytest.raises(BadInputError, match="holds no whole checkpoint"):
        run.latest_checkpoint()
    with pytest.raises(BadInputError, match=r"has no conflicts\.jsonl"):
        run.conflicts()


def test_the_balance_is_read_though_the_model_and_the_plugins_are_gone(tmp_path: Path) -> None:
    text = (
        '[model]\npretrained = "/gone"\n[rewards.ocr]\nweight = 2\nodd = 1\n[balance]\nmemory=0.9\n'
    )
    (tmp_path / "recipe.toml").write_text(text)
    found = Run(tmp_path).balance()
    assert found is not None
    assert (found.settings.memory, found.loss_weights) == (0.9, {"ocr": 2.0})


@pytest.mark.parametrize("text", ["{", "[]", '"x"'])
def test_an_environment_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "environment.json").write_text(text)
    with pytest.raises(BadInputError, match=r"environment\.json: (isn't JSON|expected an object)"):
        Run(tmp_path).environment()


READERS = {
    "recipe.toml": lambda run: run.balance(),
    "environment.json": lambda run: run.environment(),
    "metrics.jsonl": lambda run: run.metrics(),
    "conflicts.jsonl": lambda run: run.conflicts(),
    "evaluations.jsonl": lambda run: run.evaluations(),
    "samples/step-000001.json": lambda run: run.pictures(),
    "checkpoints/step-000001/state.json": lambda run: run.load_checkpoint(
        run.checkpoints_folder / "step-000001"
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_a_file_of_a_newer_version_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    environment = {"schema": 1, "packages": {"marblecli": "9.8.7"}}
    (tmp_path / "environment.json").write_text(json.dumps(environment))
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    newer = "schema = 2\n" if path.suffix == ".toml" else '{"schema": 2, "files": []}\n'
    if name == "environment.json":
        newer = '{"schema": 2, "packages": {"marblecli": "9.8.7"}}'
    path.write_text(newer)
    with pytest.raises(BadInputError, match=r"has schema 2, written by marble 9\.8\.7") as caught:
        READERS[name](Run(tmp_path))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_every_reader_is_tried(recorder: RunRecorder) -> None:
    kept = {path.name for path in recorder.run.directory.iterdir() if path.is_file()}
    assert kept <= set(READERS)


def test_reading_needs_no_torch() -> None:
    code = "import sys, marblecli.runs.run; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
