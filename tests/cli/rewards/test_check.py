from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marblecli.rewards.testing import CHECKS

InstallPlugin = Callable[..., None]
Marble = Callable[..., Any]

PLUGIN = """
from marblecli.rewards import NoOptions, RewardSpec, hookimpl

class Options(NoOptions):
    top: float = 0.5

def build(options, device):
    return lambda batch: [options.top] * len(batch.prompts)

@hookimpl
def marble_register_rewards(register):
    register(RewardSpec("flat", "", build, options=Options))
    register(RewardSpec("texts", "", build, options=Options, metadata=("text",)))
"""


@pytest.fixture(autouse=True)
def _plugin(install_plugin: InstallPlugin) -> None:
    install_plugin("flat-rewards", PLUGIN)


def test_a_sound_reward_is_shown_check_by_check(marble: Marble) -> None:
    shown = marble("rewards", "check", "flat")
    assert shown.code == 0
    lines = shown.out.splitlines()
    for name in CHECKS:
        (line,) = [line for line in lines if line.startswith(f"│ {name} ")]
        assert " ok " in line
    assert "flat keeps the contract" in shown.out


def test_a_broken_one_ends_with_exit_code_1_and_says_why(marble: Marble) -> None:
    shown = marble("rewards", "check", "flat", "--set", "top=3")
    assert shown.code == 1
    (line,) = [line for line in shown.out.splitlines() if "failed" in line]
    assert "range" in line
    assert "3 is outside of the range 0 to 1" in line
    assert "flat breaks the contract" in shown.out


def test_json_is_one_document(marble: Marble) -> None:
    shown = marble("rewards", "check", "flat", "--set", "top=3", "--json")
    assert shown.code == 1
    document = json.loads(shown.out)
    assert (document["reward"], document["ok"]) == ("flat", False)
    failed = [one for one in document["checks"] if one["status"] == "failed"]
    assert [one["name"] for one in failed] == ["range"]
    assert document["measured"]["memory_mb"] >= 0


def test_prompts_of_a_file_are_tried(marble: Marble, tmp_path: Path) -> None:
    shown = marble("rewards", "check", "texts")
    assert shown.code == 1
    assert "no prompt to try it on" in shown.out
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "a sign", "text": "HI"}\n')
    assert marble("rewards", "check", "texts", "--prompts", file).code == 0


def test_limits_can_be_set(marble: Marble) -> None:
    shown = marble("rewards", "check", "flat", "--max-seconds", "1e-12", "--json")
    failed = [one for one in json.loads(shown.out)["checks"] if one["status"] == "failed"]
    assert [one["name"] for one in failed] == ["time"]
    document = json.loads(marble("rewards", "check", "flat", "--max-memory", "9", "--json").out)
    assert document["ok"] == (document["measured"]["memory_mb"] <= 9)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["flatt"], "unknown reward 'flatt' (did you mean 'flat'?)"),
        (["flat", "--set", "tap=3"], "rewards.flat.tap: unknown key (did you mean 'top'?)"),
        (["flat", "--set", "top"], "--set top: expected KEY=VALUE"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    marble: Marble, arguments: list[str], reason: str
) -> None:
    shown = marble("rewards", "check", *arguments)
    assert shown.code == 2
    assert shown.err.startswith(f"marble: {reason}")
    assert len(shown.err.splitlines()) == 1
