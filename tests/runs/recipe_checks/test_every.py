from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from marblecli.errors import Problem
from marblecli.runs.recipe_checks import every
from marblecli.settings import Recipe
from support.recipes import problems


def test_tables_of_another_type_are_faults_not_crashes(folder: Path) -> None:
    for key in ("model", "prompts", "rewards", "training", "prompts.ocr", "rewards.read"):
        assert any("table" in line for line in problems(folder, f"{key}=3"))


def test_a_check_that_reads_a_faulty_field_keeps_what_it_found_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(recipe: Recipe) -> Iterator[Problem]:
        yield Problem("first", "is found")
        yield Problem("second", f"reads {recipe.training.steps}")

    monkeypatch.setattr(every, "CHECKS", (check, check))
    assert problems(folder, "training.steps=many")[1:] == ["first: is found"] * 2
    assert problems(folder) == ["first: is found", "second: reads 5"] * 2
