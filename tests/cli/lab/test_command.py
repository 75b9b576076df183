from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LAB = 'recipe = "recipe.toml"\nseeds = [0, 1]\n[methods.equal]\nbalance.method = "equal"\n'
RunAndTell = Callable[..., tuple[str, set[str]]]


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    (tmp_path / "recipe.toml").write_text("[rewards.a]\n[rewards.b]\n")
    path = tmp_path / "lab.toml"
    path.write_text(LAB)
    return path


def test_the_list_is_one_command_a_line(lab: Path, marble: Callable[..., Any]) -> None:
    shown = marble("lab", lab, "--list", "--lab-dir", "out", "--set", "training.steps=2")
    lines = shown.out.splitlines()
    assert [shlex.split(line)[:2] for line in lines] == [["marble", "train"]] * 2
    assert [line.split("/")[-1] for line in lines] == ["equal-seed0", "equal-seed1"]
    assert all("--set training.steps=2" in line for line in lines)


def test_two_things_at_once_are_refused(lab: Path, marble: Callable[..., Any]) -> None:
    shown = marble("lab", lab, "--list", "--status")
    assert shown.code == 2
    assert "--list and --status can't be given together" in shown.err


def test_a_faulty_lab_recipe_is_told_without_a_traceback(
    lab: Path, marble: Callable[..., Any]
) -> None:
    lab.write_text(LAB.replace("seeds", "seed"))
    shown = marble("lab", lab, "--list")
    assert shown.code == 2
    assert shown.err.splitlines() == [
        f"marble: {lab}: seeds: is required but missing",
        f"marble: {lab}: seed: unknown key (did you mean 'seeds'?)",
    ]


def test_the_list_and_the_status_load_no_torch(lab: Path, run_and_tell: RunAndTell) -> None:
    for what in ("--list", "--status"):
        loaded = run_and_tell("lab", str(lab), what)[1]
        assert not loaded & {"torch", "diffusers", "transformers", "matplotlib"}
