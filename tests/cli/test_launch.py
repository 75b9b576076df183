"""Several processes of one run: stand-ins that fail in every way, and real ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import typer

from marblecli.cli import launch as launching
from marblecli.cli.launch import RESUME, check_processes, launch, wants_launch
from marblecli.cli.setup import load_plan
from marblecli.errors import BadInputError, MarbleError
from marblecli.runs.checkpoints import list_checkpoints

Marble = Callable[..., Any]
Trainer = Callable[..., Path]
StandIn = Callable[[str], Path]

WORKER = """#!{python} -SE
import json, os, signal, sys, time
from pathlib import Path
rank, here = int(os.environ["RANK"]), Path("{folder}")

def tell(kind, message, code):
    told = {{"message": {{"message": kind + ": " + message, "extraInfo": {{}}}}}}
    Path(os.environ["TORCHELASTIC_ERROR_FILE"]).write_text(json.dumps(told))
    sys.exit(code)

{code}
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Code -> the folder it knows as ``here``; workers run that code, and start quickly."""

    def install(code: str) -> Path:
        script = tmp_path / "worker"
        script.write_text(WORKER.format(python=sys.executable, folder=tmp_path, code=code))
        script.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(script))
        monkeypatch.setattr(launching, "_GRACE", 1.0)
        return tmp_path

    return install


@pytest.fixture
def four_prompts(recipe: Path) -> Any:
    return load_plan(recipe, ["sampling.prompts_per_step=4"]).recipe


def interrupt(folder: Path, times: int) -> None:
    """Press Ctrl-C once both workers are ready, and again."""
    deadline = time.monotonic() + 30
    while len(list(folder.glob("ready-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    for _ in range(times):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.5)


def test_workers_get_the_command_and_what_torchrun_would_set(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    folder = stand_in(
        "(here / f'env-{rank}').write_text(json.dumps([sys.argv[1:], dict(os.environ)]))"
    )
    launch(3, ["train", "a recipe.toml", "--num-processes", "3"], RESUME)
    for rank in range(3):
        arguments, environment = json.loads((folder / f"env-{rank}").read_text())
        assert arguments == ["-m", "marblecli", "train", "a recipe.toml", "--num-processes", "3"]
        assert environment["RANK"] == environment["LOCAL_RANK"] == str(rank)
        assert environment["WORLD_SIZE"] == environment["LOCAL_WORLD_SIZE"] == "3"
        assert int(environment["OMP_NUM_THREADS"]) == max(1, (os.cpu_count() or 1) // 3)


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            "process 1 of 3 (from 0) was ended by SIGKILL (was there enough memory?); "
            "go on from the last checkpoint with marble resume",
        ),
        (
            "sys.exit(3)",
            "process 1 of 3 (from 0) ended with exit code 3; "
            "go on from the last checkpoint with marble resume",
        ),
        ("tell('MarbleError', 'no driver', 1)", "process 1: no driver"),
    ],
)
def test_one_that_fails_ends_all_and_is_named(ending: str, message: str, stand_in: StandIn) -> None:
    """One of the others notices by itself, and the other never does."""
    folder = stand_in(
        f"if rank == 1: {ending}\n"
        "(here / f'pid-{rank}').write_text(str(os.getpid()))\n"
        "if rank == 0: time.sleep(0.3); tell('LostProcessError', 'another is gone', 1)\n"
        "time.sleep(600)"
    )
    began = time.monotonic()
    with pytest.raises(MarbleError) as caught:
        launch(3, [], RESUME)
    assert time.monotonic() - began < 20
    assert str(caught.value) == message
    assert caught.value.exit_code == 1
    assert not psutil.pid_exists(int((folder / "pid-2").read_text()))


def test_what_the_first_process_has_said_is_not_said_again(stand_in: StandIn) -> None:
    stand_in("tell('BadInputError', 'no such file', 2)")
    with pytest.raises(typer.Exit) as caught:
        launch(2, [], RESUME)
    assert caught.value.exit_code == 2


def test_bad_input_of_another_machine_part_is_bad_input(stand_in: StandIn) -> None:
    stand_in(
        "if rank: tell('BadInputError', 'no such reward', 2)\n"
        "tell('LostProcessError', 'another is gone', 1)"
    )
    with pytest.raises(BadInputError, match=r"^process 1: no such reward$"):
        launch(2, [], RESUME)


def test_ctrl_c_is_passed_on_and_waited_for(stand_in: StandIn) -> None:
    folder = stand_in(
        "def save(*_):\n"
        "    time.sleep(1.5 if rank == 0 else 0.9)\n"
        "    (here / f'saved-{rank}').touch()\n"
        "    sys.exit(130)\n"
        "signal.signal(signal.SIGINT, save)\n"
        "(here / f'ready-{rank}').touch()\n"
        "time.sleep(600)"
    )
    before = signal.getsignal(signal.SIGINT)
    threading.Thread(target=interrupt, args=(folder, 1)).start()
    with pytest.raises(typer.Exit) as caught:
        launch(2, [], RESUME)
    assert caught.value.exit_code == 130
    assert len(list(folder.glob("saved-*"))) == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_pressed_twice_nobody_is_waited_for_long(stand_in: StandIn) -> None:
    folder = stand_in(
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "(here / f'ready-{rank}').touch()\n"
        "time.sleep(600)"
    )
    threading.Thread(target=interrupt, args=(folder, 2)).start()
    began = time.monotonic()
    with pytest.raises(typer.Exit) as caught:
        launch(2, [], RESUME)
    assert caught.value.exit_code == 130
    assert time.monotonic() - began < 20


def test_every_process_needs_a_prompt(four_prompts: Any) -> None:
    check_processes(four_prompts, 4)
    with pytest.raises(
        BadInputError,
        match=r"^sampling\.prompts_per_step: 4 can't be shared among 5 processes; start at most 4",
    ):
        check_processes(four_prompts, 5)


def test_sharded_weights_need_as_many_prompts_in_each_process(four_prompts: Any) -> None:
    model = four_prompts.model.model_copy(update={"mode": "full", "shard": True})
    sharded = four_prompts.model_copy(update={"model": model})
    check_processes(sharded, 2)
    check_processes(four_prompts, 3)
    with pytest.raises(BadInputError, match=r"sharded weights need as many prompts in each"):
        check_processes(sharded, 3)


def test_notices_of_a_recipe_are_left_to_the_processes_that_are_started(
    recipe: Path, marble: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "launch", lambda *_: None)
    options = ("train", recipe, "--set", "training.anchor_share=0.5", "--num-processes")
    assert marble(*options, 2).err == ""
    assert marble(*options, 2, "--dry-run").err.count("is now training.pull_share") == 1


def test_every_process_needs_a_gpu_where_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(BadInputError, match="there are 2 GPUs on this machine"):
        launch(3, [], RESUME)


def test_a_process_of_a_launcher_starts_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not wants_launch(1)
    assert wants_launch(2)
    for name, value in (("LOCAL_RANK", "0"), ("RANK", "0"), ("WORLD_SIZE", "4")):
        monkeypatch.setenv(name, value)
    assert not wants_launch(1)
    assert not wants_launch(4)
    with pytest.raises(BadInputError, match="has started 4 processes; leave --num-processes out"):
        wants_launch(2)


def test_a_bad_recipe_is_told_once_before_anything_starts(marble: Marble, recipe: Path) -> None:
    shown = marble("train", recipe, "--num-processes", 2, "--set", "training.step=4")
    assert (shown.code, shown.out) == (2, "")
    (line,) = shown.err.splitlines()
    assert line.endswith("training.step: unknown key (did you mean 'steps'?)")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def start(recipe: Path, run_dir: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "marblecli", "train", str(recipe), "--run-dir", str(run_dir)),
            *("--num-processes", "2", *arguments),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for_checkpoint(process: subprocess.Popen[str], run_dir: Path) -> None:
    deadline = time.monotonic() + 240
    while not list_checkpoints(run_dir / "checkpoints"):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_train_like_one_and_a_dead_one_ends_the_other(
    tiny_recipe: Path, finished_run: Path, train_tiny: Trainer, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    process = start(tiny_recipe, run_dir, "--set", "training.steps=100000")
    try:
        wait_for_checkpoint(process, run_dir)
        workers = psutil.Process(process.pid).children()
        (second,) = (worker for worker in workers if worker.environ().get("RANK") == "1")
        second.kill()
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 1
    (line,) = (line for line in err.splitlines() if line.startswith("marble: "))
    assert line.startswith("marble: process 1 of 2 (from 0) was ended by SIGKILL")
    assert "Traceback" not in err
    assert out.count("run directory: ") == out.count("step 1/100000 ") == 1
    assert not any(worker.is_running() for worker in workers)
    # One process goes on where two have been.
    kept = list_checkpoints(run_dir / "checkpoints")[0]
    for later in list_checkpoints(run_dir / "checkpoints")[1:]:
        later.rename(tmp_path / later.name)
    assert kept.name == "step-000002"
    train_tiny(run_dir, "training.steps=4", resume=True)
    for name in ("metrics.jsonl", "conflicts.jsonl"):
        for mine, theirs in zip(lines(run_dir / name), lines(finished_run / name), strict=True):
            assert mine["valid"] == theirs["valid"]
            assert mine["coefficients"] == pytest.approx(theirs["coefficients"], rel=1e-2)


@pytest.mark.slow
def test_ctrl_c_saves_once_and_two_go_on_to_the_same_bits(
    tiny_recipe: Path, tmp_path: Path
) -> None:
    run_dir, straight = tmp_path / "run", tmp_path / "straight"
    process = start(tiny_recipe, run_dir, "--set", "training.steps=100000")
    wait_for_checkpoint(process, run_dir)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    step = int(list_checkpoints(run_dir / "checkpoints")[-1].name.removeprefix("step-"))
    command = f"marble resume {run_dir} --num-processes 2"
    said = [f"marble: interrupted; step {step} is saved", f"marble: go on with: {command}"]
    assert err.splitlines()[-2:] == said
    assert out.count("stopping; the last whole step will be saved") == 1
    steps = ("--set", f"training.steps={step + 2}")
    for directory, more in ((run_dir, ("--resume",)), (straight, ())):
        process = start(tiny_recipe, directory, *steps, *more)
        assert process.communicate(timeout=240)[1] == ""
        assert process.returncode == 0
    for name in ("metrics.jsonl", "conflicts.jsonl"):
        one, other = (
            [{**line, "seconds": 0, "phases": 0} for line in lines(d / name)]
            for d in (run_dir, straight)
        )
        assert one == other
