"""Rewards that fail during a run: named, masked, counted; the run goes on, or ends by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.faults import without_place

InstallPlugin = Callable[..., None]
Marble = Callable[..., Any]

PLUGIN = """
import math, os, time
from typing import Literal
from marblecli.rewards import NoOptions, RewardSpec, hookimpl

class Options(NoOptions):
    mood: Literal["raise", "nan", "sleep", "leave", "fine"] = "fine"
    spares: int = 0

def build(options, device):
    calls = []

    def score(batch):
        calls.append(1)
        values = (batch.images.mean(axis=(1, 2, 3)) / 255).tolist()
        if len(calls) <= options.spares or options.mood == "fine":
            return values
        if options.mood == "raise":
            raise RuntimeError("no such luck")
        if options.mood == "nan":
            return [math.nan, *values[1:]]
        if options.mood == "leave":
            raise SystemExit("bye")
        time.sleep(3600)

    return score

@hookimpl
def marble_register_rewards(register):
    register(RewardSpec("moody", "", build, options=Options))
"""
MARBLE = "import sys; from marblecli.cli.main import main; sys.argv[0] = 'marble'; main()"


@pytest.fixture(autouse=True)
def _plugin(install_plugin: InstallPlugin) -> None:
    install_plugin("moody-rewards", PLUGIN)


def settings(**values: Any) -> list[str]:
    return [
        word
        for key, value in values.items()
        for word in ("--set", f"rewards.moody.{key}={json.dumps(value)}")
    ]


def steps(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("mood", "message", "valid"),
    [
        ("raise", "moody: RuntimeError: no such luck", 0),
        ("leave", "moody: SystemExit: bye", 0),
        ("nan", "moody: 1 of 6 values aren't finite", 5),
    ],
)
def test_a_faulty_reward_is_named_masked_and_counted_until_it_is_too_much(
    marble: Marble, tiny_recipe: Path, tmp_path: Path, mood: str, message: str, valid: int
) -> None:
    run = tmp_path / "run"
    # Evaluations of the start come first; two steps may fail, the third is one too many.
    shown = marble(
        *("train", tiny_recipe, "--run-dir", run, "--set", "training.max_faults=2"),
        *settings(mood=mood, spares=2),
    )
    assert shown.code == 1
    (line,) = shown.err.splitlines()[-1:]
    assert without_place(line) == (
        f"marble: step 3: more than 2 faults (training.max_faults), the last: {message}"
    )
    done = steps(run)
    assert [list(map(without_place, step["faults"])) for step in done] == [[message]] * 2
    assert [step["valid"]["moody"] for step in done] == [valid] * 2
    assert all(step["valid"]["shapes-colour"] == 6 for step in done)


def test_small_calls_lose_little(marble: Marble, tiny_recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shown = marble(
        *("train", tiny_recipe, "--run-dir", run),
        *("--set", "training.steps=1", "--set", "eval.train_prompts=0"),
        *("--set", "eval.held_out_prompts=0"),
        *settings(mood="raise", spares=2, batch_size=2),
    )
    assert shown.code == 0, shown.err
    (step,) = steps(run)
    (fault,) = step["faults"]
    assert without_place(fault) == "moody: RuntimeError: no such luck (1 of 3 calls)"
    assert "plugin_moody_rewards.py:" in fault
    assert step["valid"]["moody"] == 4


def test_a_scorer_that_sleeps_for_ever_ends_the_run_and_the_process(
    tiny_recipe: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = [
        *("train", tiny_recipe, "--run-dir", run, "--set", "training.max_faults=1"),
        *settings(mood="sleep", spares=2, timeout=0.5),
    ]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", MARBLE, *map(str, command)],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site-packages")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "marble: step 2: more than 1 faults (training.max_faults), the last: "
        "moody: still busy with a call that took more than 0.5 s (timeout)"
    )
    assert steps(run)[0]["faults"] == ["moody: no answer within 0.5 s (timeout)"]
    assert time.monotonic() - began < 200
