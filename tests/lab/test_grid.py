from __future__ import annotations

import shlex
from pathlib import Path

from marblecli.lab.grid import make_cells, overrides
from marblecli.lab.recipe import load_lab

LAB = """
recipe = "base.toml"
seeds = [0, 7]
specialists = true
[set]
training.steps = 5
[methods.paper]
balance.method = "marble"
"balance.memory" = 0.9
[methods.stages]
balance.phases = [{method = "single", reward = "ocr", until = 2}]
[methods.stages.rewards.ocr]
weight = 2.0
"""


def test_every_method_is_trained_with_every_seed_and_seeds_go_first(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text("[rewards.ocr]\n")
    (tmp_path / "lab.toml").write_text(LAB)
    cells = make_cells(load_lab(tmp_path / "lab.toml"), Path("out"), ["eval.every=1"])
    assert [cell.name for cell in cells] == [
        "paper-seed0", "stages-seed0", "specialist-ocr-seed0",
        "paper-seed7", "stages-seed7", "specialist-ocr-seed7",
    ]  # fmt: skip
    assert cells[3].overrides == (
        "training.steps=5",
        'balance.method="marble"',
        "balance.memory=0.9",
        "run.seed=7",
        "run.name=paper",
        "eval.every=1",
    )
    assert cells[2].overrides[1:3] == ('balance.method="single"', 'balance.reward="ocr"')


def test_a_command_is_an_ordinary_training(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text("[rewards.ocr]\n")
    (tmp_path / "lab.toml").write_text(LAB)
    cell = make_cells(load_lab(tmp_path / "lab.toml"), Path("out"))[1]
    words = shlex.split(cell.command)
    assert words[:3] == ["marble", "train", str(tmp_path / "base.toml")]
    assert words[-2:] == ["--run-dir", "out/cells/stages-seed0"]
    assert 'balance.phases=[{method = "single", reward = "ocr", until = 2}]' in words
    assert "rewards.ocr.weight=2.0" in words


def test_changes_are_the_same_however_deep_they_are_written() -> None:
    nested = {"a": {"b": {"c": 1, "d-e": True}}, "f g": "x"}
    assert overrides(nested) == ("a.b.c=1", "a.b.d-e=true", '"f g"="x"')
    assert overrides({"a.b.c": 1}) == ("a.b.c=1",)
