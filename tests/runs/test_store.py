from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from marblecli.errors import BadInputError, MarbleError
from marblecli.runs.store import RunStore
from marblecli.types import (
    ConflictRecord,
    EvaluationRecord,
    Prompt,
    Recorder,
    ScoredImage,
    Snapshot,
)


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore.create(tmp_path / "run", 'name = "x"\n', {"python": "3"}, keep_last=2)


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


def steps(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_it_is_a_recorder(store: RunStore) -> None:
    recorder: Recorder = store
    assert recorder is store


def test_a_new_directory_says_what_runs_and_where(store: RunStore) -> None:
    assert store.recipe.read_text() == 'name = "x"\n'
    assert json.loads((store.directory / "environment.json").read_text()) == {"python": "3"}


def test_a_directory_that_isnt_empty_is_refused(store: RunStore) -> None:
    with pytest.raises(BadInputError, match=r"isn't empty.*--resume.*--run-dir"):
        RunStore.create(store.directory, "", {})


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(BadInputError, match="--run-dir"):
        RunStore.create(tmp_path / "run", "", {})


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    assert RunStore.create(tmp_path, "", {}).recipe.exists()


def test_another_directory_cant_be_opened(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no run directory: it has no recipe\.toml"):
        RunStore.open(tmp_path)


def evaluation(step: int, score: float) -> EvaluationRecord:
    image = ScoredImage("a cat", "plain", 0, 0, {"a": score, "b": None})
    return EvaluationRecord(step, "trained", {"train": (image,)})


def test_every_record_is_a_line_of_its_file(store: RunStore) -> None:
    store.step({"step": 1, "loss": float("nan")})
    store.conflict(conflict(1))
    store.evaluation(evaluation(0, 0.5))
    assert json.loads(store.metrics.read_text()) == {"step": 1, "loss": None}
    line = json.loads(store.conflicts.read_text())
    assert line["gram"] == [[1.0, -0.5], [-0.5, 4.0]]
    assert line["cosines"] == {"applied": [0.6, None]}
    assert json.loads(store.evaluations.read_text()) == {"step": 0, "train": {"a": 0.5}}


def test_samples_are_a_picture_with_its_prompts(store: RunStore) -> None:
    prompts = [Prompt("a cat", "plain"), Prompt("a dog", "plain")]
    store.samples(0, "train", prompts, torch.rand(2, 3, 16, 16))
    folder = store.directory / "samples"
    assert sorted(path.name for path in folder.iterdir()) == [
        "step-000000-train.json",
        "step-000000-train.png",
    ]
    legend = json.loads((folder / "step-000000-train.json").read_text())
    assert legend["columns"] == 2
    assert legend["prompts"][1] == {"prompt": "a dog", "source": "plain"}


def test_the_newest_checkpoint_is_found_and_the_oldest_deleted(store: RunStore) -> None:
    with pytest.raises(BadInputError, match="no whole checkpoint"):
        store.latest_checkpoint()
    for step in (1, 2, 3):
        store.checkpoint(snapshot(step))
    assert store.latest_checkpoint().name == "step-000003"
    assert store.load_checkpoint(store.latest_checkpoint()).step == 3
    kept = sorted(path.name for path in (store.directory / "checkpoints").iterdir())
    assert kept == ["step-000002", "step-000003"]


def test_nothing_is_pruned_when_the_new_checkpoint_fails(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (1, 2):
        store.checkpoint(snapshot(step))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MarbleError, match=r"No space left on device; .*--resume"):
        store.checkpoint(snapshot(3))
    kept = sorted(path.name for path in (store.directory / "checkpoints").iterdir())
    assert kept == ["step-000001", "step-000002"]


def test_rewinding_drops_what_came_after_the_checkpoint(store: RunStore) -> None:
    for step in (1, 2, 3):
        store.step({"step": step})
        store.conflict(conflict(step))
        store.evaluation(evaluation(step, 0.5))
    with store.metrics.open("a") as file:
        file.write('{"step": 4, "lo')
    draft = store.directory / "checkpoints" / ".unfinished-step-000003"
    draft.mkdir()
    again = RunStore.open(store.directory)
    assert draft.exists(), "opening must not disturb a run that is still writing"
    again.rewind(2)
    assert not draft.exists()
    for path in (again.metrics, again.conflicts, again.evaluations):
        assert steps(path) == [1, 2]
    again.step({"step": 3})
    assert steps(again.metrics) == [1, 2, 3]


def test_a_full_disk_while_logging_is_one_line(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(MarbleError, match=r"can't write .*metrics\.jsonl: No space left"):
        store.step({"step": 1})


def test_a_directory_that_cant_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MarbleError, match=r"can't write .*; give another --run-dir"):
        RunStore.create(tmp_path / "file" / "run", "", {})


def test_reading_lines_needs_no_torch() -> None:
    code = "import sys, marblecli.runs.store; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
