"""``marble resume``, and how it differs from ``marble train --resume``."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Marble = Callable[..., Any]
Trainer = Callable[..., Path]


@pytest.fixture(scope="session")
def stopped_run(train_tiny: Trainer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps that was killed after its second, as a directory that is only copied."""
    run_dir = train_tiny(tmp_path_factory.mktemp("stopped") / "run")
    shutil.rmtree(run_dir / "checkpoints" / "step-000004")
    return run_dir


@pytest.fixture
def run_dir(stopped_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(stopped_run, tmp_path / "run")
    return tmp_path / "run"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def recipe_of(run_dir: Path) -> dict[str, Any]:
    return tomllib.loads((run_dir / "recipe.toml").read_text())


def test_it_needs_the_directory_alone(marble: Marble, run_dir: Path, finished_run: Path) -> None:
    shown = marble("resume", run_dir)
    assert (shown.code, shown.err) == (0, "")
    assert "going on after step 2, to step 4" in shown.out
    assert "base model" not in shown.out, "its evaluation is on file"
    for name in ("metrics.jsonl", "conflicts.jsonl", "evaluations.jsonl"):
        mine, theirs = (lines(folder / name) for folder in (run_dir, finished_run))
        for line in (*mine, *theirs):
            line.pop("seconds", None)
            line.pop("phases", None)
        assert mine == theirs
    (resumed,) = lines(run_dir / "history.jsonl")
    assert (resumed["step"], resumed["changed"]) == (2, {})


def test_what_doesnt_change_the_past_can_be_set_and_is_said_and_kept(
    marble: Marble, run_dir: Path
) -> None:
    rate, steps = "training.learning_rate=2e-3", "training.steps=3"
    shown = marble("resume", run_dir, "--set", rate, "--set", steps, "--set", "eval.every=3")
    assert (shown.code, shown.err) == (0, "")
    for said in ("learning_rate from 0.01 to 0.002", "steps from 4 to 3", "eval.every from 0 to 3"):
        assert said in shown.out
    assert recipe_of(run_dir)["training"]["learning_rate"] == 2e-3
    assert [line["step"] for line in lines(run_dir / "metrics.jsonl")] == [1, 2, 3]
    (resumed,) = lines(run_dir / "history.jsonl")
    assert resumed["changed"]["training.learning_rate"] == {"from": 0.01, "to": 0.002}


def test_the_new_rate_is_used(marble: Marble, run_dir: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run_dir, tmp_path / "other")
    for folder, rate in ((run_dir, 1e-9), (other, 1e-2)):
        assert marble("resume", folder, "--set", f"training.learning_rate={rate}").code == 0
    slow, fast = (lines(folder / "evaluations.jsonl")[-1]["train"] for folder in (run_dir, other))
    assert slow != fast


def test_what_the_steps_so_far_depend_on_is_refused_and_nothing_is_changed(
    marble: Marble, run_dir: Path
) -> None:
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    for override in ("rewards.shapes-colour.weight=2", "run.seed=7", "sampling.steps=9"):
        shown = marble("resume", run_dir, "--set", override)
        assert shown.code == 2
        key = override.partition("=")[0]
        assert f"was started with another {key}; set it back" in shown.err
        assert "the steps that were made depend on it" in shown.err
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before


def test_fewer_steps_than_were_made_are_refused(marble: Marble, run_dir: Path) -> None:
    shown = marble("resume", run_dir, "--set", "training.steps=1")
    assert shown.code == 2
    assert "training.steps: 1 is less than the 2 steps that" in shown.err


def test_other_evaluations_are_made_of_the_base_model_too(marble: Marble, run_dir: Path) -> None:
    shown = marble("resume", run_dir, "--set", "eval.images_per_prompt=2")
    assert (shown.code, shown.err) == (0, "")
    assert "the base model is evaluated again" in shown.out
    evaluations = lines(run_dir / "evaluations.jsonl")
    assert [line["step"] for line in evaluations] == [0, 4]
    assert [len(line["images"]["held-out"]) for line in evaluations] == [4, 4]
    (old,) = lines(run_dir / "evaluations-until-000002.jsonl")
    assert len(old["images"]["held-out"]) == 2


def test_train_with_resume_keeps_the_runs_own_recipe_and_names_the_difference(
    marble: Marble, run_dir: Path, tiny_recipe: Path, tmp_path: Path
) -> None:
    longer = tiny_recipe.with_name("longer.toml")
    longer.write_text(tiny_recipe.read_text().replace("steps = 4", "steps = 50"))
    shown = marble("train", longer, "--resume", "--run-dir", run_dir)
    assert shown.code == 0
    said = " ".join(shown.err.split())
    assert said == (
        "training.steps: the run's own recipe says 4, which is kept, and the one given says 50; "
        "to change it: --set training.steps=50"
    )
    assert [line["step"] for line in lines(run_dir / "metrics.jsonl")] == [1, 2, 3, 4]
    shown = marble("train", longer, "--resume", "--run-dir", run_dir, "--set", "training.steps=5")
    assert (shown.code, shown.err) == (0, "")
    assert lines(run_dir / "metrics.jsonl")[-1]["step"] == 5


def test_a_run_that_was_stopped_before_its_first_checkpoint_starts_again(
    marble: Marble, run_dir: Path, finished_run: Path
) -> None:
    shutil.rmtree(run_dir / "checkpoints")
    shown = marble("resume", run_dir)
    assert (shown.code, shown.err) == (0, "")
    assert "starting again: no step was saved, to step 4" in shown.out
    assert [line["step"] for line in lines(run_dir / "metrics.jsonl")] == [1, 2, 3, 4]
    assert [line["step"] for line in lines(run_dir / "evaluations.jsonl")] == [0, 4]


def test_a_directory_without_a_run_is_one_line(marble: Marble, tmp_path: Path) -> None:
    shown = marble("resume", tmp_path)
    assert (shown.code, shown.out) == (2, "")
    assert shown.err == f"marble: {tmp_path} is no run directory: it has no recipe.toml\n"
