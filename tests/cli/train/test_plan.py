from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Marble = Callable[..., Any]

RunAndTell = Callable[..., tuple[str, set[str]]]


def rows(text: str) -> dict[str, str]:
    """The table's rows: label -> value."""
    cells = [line.strip("│ ").split("│") for line in text.splitlines() if line.count("│") == 3]
    return {label.strip(): value.strip() for label, value in cells}


def test_the_geometry_of_a_step_worked_by_hand(marble: Marble, recipe: Path) -> None:
    shown = marble("train", recipe, "--dry-run", "--set", "balance.refresh_every=5")
    assert shown.code == 0
    table = rows(shown.out)
    assert table["images a step"] == "2 prompts x 3 = 6"
    assert table["training"] == "4 steps of 12 rows (2 levels)"
    # Six images in micro-batches of four, at each of two levels.
    assert table["micro-batches a step"] == "4 of at most 4 images"
    assert table["sampling"] == "3 solver steps at 32 px"
    assert table["balance"] == "marble, refreshed every 5"
    assert table["prompts.scenes"] == "2 for training, 2 held out"
    assert table["rewards.shapes-colour"] == "applies to scenes (all)"
    assert table["rewards.shapes-aesthetic"] == "applies to scenes (all)"


def test_a_reward_is_shown_with_the_prompts_that_it_applies_to(
    marble: Marble, recipe: Path, tmp_path: Path
) -> None:
    mixed = tmp_path / "mixed.jsonl"
    lines = ({"prompt": "a"}, {"prompt": "b", "background": "black", "colours": ["red"]})
    mixed.write_text("".join(json.dumps(line) + "\n" for line in lines))
    shown = marble("train", recipe, "--dry-run", "--set", f"prompts.mixed.train={mixed}")
    table = rows(shown.out)
    assert table["rewards.shapes-colour"] == "applies to scenes (all), mixed (1)"
    assert table["rewards.shapes-aesthetic"] == "applies to scenes (all), mixed (all)"


def test_micro_batches_never_exceed_the_batch(marble: Marble, recipe: Path) -> None:
    shown = marble("train", recipe, "--dry-run", "--set", "training.micro_batch_size=100")
    assert rows(shown.out)["micro-batches a step"] == "2 of at most 6 images"


def test_a_dry_run_loads_and_writes_nothing(
    run_and_tell: RunAndTell, recipe: Path, tmp_path: Path
) -> None:
    """The model folder holds no weights at all."""
    before = sorted(tmp_path.rglob("*"))
    run_dir = tmp_path / "run"
    shown, _ = run_and_tell("train", recipe, "--dry-run", "--run-dir", run_dir, cwd=tmp_path)
    assert "the recipe is valid; nothing was loaded" in shown
    assert sorted(tmp_path.rglob("*")) == before


def test_a_solver_that_is_not_installed_is_refused_before_anything_loads(
    marble: Marble, recipe: Path
) -> None:
    shown = marble("train", recipe, "--dry-run", "--set", "balance.solver=cvxpy:NOSUCH")
    assert shown.code == 2
    assert "balance" in shown.err
    assert "NOSUCH" in shown.err
    assert "CLARABEL" in shown.err
