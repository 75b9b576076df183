from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.recipes import load, problems


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("model.mode=full", ("model", "mode"), "full"),
        ("training.steps=3", ("training", "steps"), 3),
        ("training.learning_rate=1e-3", ("training", "learning_rate"), 1e-3),
        ("training.learning_rate=.5", ("training", "learning_rate"), 0.5),
        ("run.name = spaced", ("run", "name"), "spaced"),
        ('run.name="quoted"', ("run", "name"), "quoted"),
        ("training.old_policy.cap=0.5", ("training", "old_policy", "cap"), 0.5),
        ('tracking.log_with=["tensorboard"]', ("tracking", "log_with"), ["tensorboard"]),
        ('rewards.sharp.sources=["plain"]', ("rewards", "sharp", "sources"), ["plain"]),
        ("rewards.read.language=fr", ("rewards", "read", "options", "language"), "fr"),
        ("rewards.new.depth=7", ("rewards", "new", "options", "depth"), 7),
        ("rewards.read={}", ("rewards", "read", "options"), {}),
    ],
)
def test_overrides_reach_every_field(
    folder: Path, override: str, path: tuple[str, ...], value: object
) -> None:
    found: Any = load(folder, override).model_dump(mode="json")
    for part in path:
        found = found[part]
    assert found == value


@pytest.mark.parametrize("override", ["training.steps", "=3", "training..steps=3", "#=1", "a b=1"])
def test_a_malformed_override_is_named(folder: Path, override: str) -> None:
    assert problems(folder, override) == [f"--set {override}: expected KEY=VALUE with a dotted key"]


def test_an_override_through_a_value_is_named(folder: Path) -> None:
    assert problems(folder, "run.name.first=x") == ["--set run.name.first=x: run.name is no table"]
