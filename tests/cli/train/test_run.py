"""Runs of the command itself: its files, its output, and how it survives a kill or Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from marblecli.errors import BadInputError
from marblecli.runs.checkpoints import list_checkpoints
from marblecli.runs.recorder import RunRecorder

Marble = Callable[..., Any]
Trainer = Callable[..., Path]
TENSORS = ("trained", "old", "ema", "optimizer")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def without_seconds(path: Path) -> list[dict[str, Any]]:
    return [{key: v for key, v in line.items() if key != "seconds"} for line in lines(path)]


def checkpoints(run_dir: Path) -> list[str]:
    return [path.name for path in list_checkpoints(run_dir / "checkpoints")]


def assert_same_run(run_dir: Path, straight: Path, step: int) -> None:
    """The checkpoint of ``step`` and every line until then are those of the other run."""
    name = f"checkpoints/step-{step:06d}"
    for stem in TENSORS:
        mine = load_file(run_dir / name / f"{stem}.safetensors")
        theirs = load_file(straight / name / f"{stem}.safetensors")
        assert mine.keys() == theirs.keys()
        for key, tensor in mine.items():
            assert torch.equal(tensor, theirs[key]), f"{stem}: {key}"
    for file in ("metrics.jsonl", "conflicts.jsonl"):
        assert without_seconds(run_dir / file) == without_seconds(straight / file)[:step]
    states = [json.loads((d / name / "state.json").read_text()) for d in (run_dir, straight)]
    assert states[0] == states[1]


def test_a_run_leaves_its_directory(finished_run: Path) -> None:
    assert {path.name for path in finished_run.iterdir()} == {
        "recipe.toml",
        "environment.json",
        "metrics.jsonl",
        "conflicts.jsonl",
        "evaluations.jsonl",
        "samples",
        "checkpoints",
        "export",
    }
    assert [line["step"] for line in lines(finished_run / "metrics.jsonl")] == [1, 2, 3, 4]
    assert [line["step"] for line in lines(finished_run / "conflicts.jsonl")] == [1, 2, 3, 4]
    assert [line["step"] for line in lines(finished_run / "evaluations.jsonl")] == [0, 4]
    assert checkpoints(finished_run) == ["step-000002", "step-000004"]
    assert {path.name for path in (finished_run / "samples").glob("*.png")} == {
        f"step-{step:06d}-{split}.png" for step in (0, 4) for split in ("train", "held-out")
    }


def test_nothing_in_a_run_directory_can_run_code(finished_run: Path) -> None:
    suffixes = {path.suffix for path in finished_run.rglob("*") if path.is_file()}
    assert suffixes == {".toml", ".json", ".jsonl", ".md", ".png", ".safetensors"}


def test_a_run_ends_with_every_rewards_change_and_the_next_command(
    marble: Marble, tiny_recipe: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    shown = marble(
        "train", tiny_recipe, "--run-dir", run_dir, "--set", "training.steps=1", "--set",
        "model.mode=full", "--set", 'tracking.log_with=["tensorboard"]',
    )  # fmt: skip
    assert (shown.code, shown.err) == (0, "")
    assert list((run_dir / "tiny").glob("events.out.tfevents.*"))
    *_, where, command = shown.out.splitlines()
    assert where == f"run directory: {run_dir}"
    assert command == f"next: marble inspect-conflicts {run_dir}"
    for split in ("train", "held-out"):
        assert f"{split} prompts" in shown.out
    assert "step 1/1  shapes-colour " in shown.out
    inspected = marble(*command.removeprefix("next: marble ").split(), "--json")
    assert json.loads(inspected.out)["batches"] == 1


def test_a_directory_with_a_run_is_not_overwritten(
    marble: Marble, tiny_recipe: Path, finished_run: Path
) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in finished_run.rglob("*"))
    shown = marble("train", tiny_recipe, "--run-dir", finished_run)
    assert shown.code == 2
    assert "continue its run with --resume or give another --run-dir" in shown.err
    assert sorted((path, path.stat().st_mtime_ns) for path in finished_run.rglob("*")) == before


@pytest.mark.parametrize(
    "override",
    [
        "training.learning_rate=1e-3",
        "run.seed=1",
        "rewards.shapes-compressibility={}",
        "model.t5=none",
        "model.lora.targets=['attn.to_q']",
    ],
)
def test_settings_that_would_make_another_run_are_refused_on_resume(
    override: str, train_tiny: Trainer, finished_run: Path
) -> None:
    key = override.split("=", maxsplit=1)[0]
    with pytest.raises(BadInputError, match=f"was started with another {key}; set it back"):
        train_tiny(finished_run, override, resume=True)


def test_a_run_may_be_made_longer(train_tiny: Trainer, tmp_path: Path) -> None:
    short = train_tiny(tmp_path / "short", "training.steps=1", "balance.refresh_every=3")
    train_tiny(short, "training.steps=3", "balance.refresh_every=3", resume=True)
    straight = train_tiny(tmp_path / "straight", "training.steps=3", "balance.refresh_every=3")
    assert [line["step"] for line in lines(straight / "conflicts.jsonl")] == [1]
    assert_same_run(short, straight, 3)


def test_a_run_can_be_resumed_with_settings_that_take_less_memory(
    train_tiny: Trainer, tmp_path: Path
) -> None:
    run_dir = train_tiny(tmp_path / "run", "training.steps=1")
    less = ("model.gradient_checkpointing=true", f"model.embedding_cache={tmp_path / 'cache'}")
    train_tiny(run_dir, "training.steps=2", *less, resume=True)
    assert [line["step"] for line in lines(run_dir / "metrics.jsonl")] == [1, 2]


def continue_and_compare(run_dir: Path, train_tiny: Trainer, straight_dir: Path) -> None:
    step = int(checkpoints(run_dir)[-1].removeprefix("step-")) + 1
    train_tiny(run_dir, f"training.steps={step}", resume=True)
    train_tiny(straight_dir, f"training.steps={step}")
    assert_same_run(run_dir, straight_dir, step)


def kill_after_a_checkpoint(recipe: Path, run_dir: Path) -> subprocess.CompletedProcess[str]:
    """Train in another process until a checkpoint is saved, then send SIGKILL."""
    arguments = ["train", recipe, "--run-dir", run_dir, "--set", "training.steps=100000"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from marblecli.cli.main import main; main()", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # The other process gets as many threads as this one, because they decide the order of sums.
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )
    deadline = time.monotonic() + 240
    try:
        while not checkpoints(run_dir) and process.poll() is None:
            assert time.monotonic() < deadline, "no checkpoint came"
            time.sleep(0.02)
    finally:
        process.kill()
        out, err = process.communicate()
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def test_a_killed_run_is_resumed_to_the_same_result(
    tiny_recipe: Path, train_tiny: Trainer, tmp_path: Path
) -> None:
    killed = kill_after_a_checkpoint(tiny_recipe, tmp_path / "run")
    assert (killed.returncode, killed.stderr) == (-signal.SIGKILL, "")
    assert "step 1/100000 " in killed.stdout
    continue_and_compare(tmp_path / "run", train_tiny, tmp_path / "straight")


@pytest.fixture
def press_at_step_3(monkeypatch: pytest.MonkeyPatch) -> Callable[[signal.Signals, int], None]:
    """Send a signal to this process a number of times during its third step."""
    step = RunRecorder.step

    def press(number: signal.Signals, times: int) -> None:
        def pressing(self: RunRecorder, metrics: dict[str, Any]) -> None:
            step(self, metrics)
            if metrics["step"] == 3:
                for _ in range(times):
                    signal.raise_signal(number)

        monkeypatch.setattr(RunRecorder, "step", pressing)

    return press


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_and_says_so_and_the_run_can_be_resumed(
    number: signal.Signals,
    press_at_step_3: Callable[[signal.Signals, int], None],
    marble: Marble,
    tiny_recipe: Path,
    finished_run: Path,
    train_tiny: Trainer,
    tmp_path: Path,
) -> None:
    press_at_step_3(number, 1)
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    shown = marble("train", tiny_recipe, "--run-dir", tmp_path / "run")
    assert (shown.code, shown.err) == (130, "marble: interrupted; step 3 is saved\n")
    assert "stopping after this step; its checkpoint will be saved" in shown.out
    assert checkpoints(tmp_path / "run") == ["step-000002", "step-000003"]
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers
    train_tiny(tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", finished_run, 4)


def test_a_second_ctrl_c_stops_at_once_and_the_last_checkpoint_can_be_resumed(
    press_at_step_3: Callable[[signal.Signals, int], None],
    monkeypatch: pytest.MonkeyPatch,
    marble: Marble,
    tiny_recipe: Path,
    finished_run: Path,
    train_tiny: Trainer,
    tmp_path: Path,
) -> None:
    press_at_step_3(signal.SIGINT, 2)
    shown = marble("train", tiny_recipe, "--run-dir", tmp_path / "run")
    assert shown.code == 130
    assert "Traceback" not in shown.err
    assert checkpoints(tmp_path / "run") == ["step-000002"]
    monkeypatch.undo()
    train_tiny(tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", finished_run, 4)
