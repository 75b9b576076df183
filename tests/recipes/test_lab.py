"""The shipped lab recipes: every method's recipe is sound."""

from __future__ import annotations

from pathlib import Path

import pytest

from marblecli.cli.lab.check import check
from marblecli.lab.grid import make_cells
from marblecli.lab.recipe import load_lab

RECIPES = sorted((Path(__file__).parents[2] / "recipes" / "lab").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_every_cell_of_a_shipped_lab_could_be_trained(path: Path, tmp_path: Path) -> None:
    lab = load_lab(path)
    check(path, lab, make_cells(lab, tmp_path))


@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_a_lab_recipe_says_its_command_and_its_cost(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# marble lab recipes/lab/{path.name} --jobs 2")
    assert "Cost: " in text


def test_the_full_lab_has_a_stage_for_each_reward() -> None:
    lab = load_lab(next(path for path in RECIPES if path.stem == "full"))
    balance = lab.methods["stages"]["balance"]
    stages = [*(phase["reward"] for phase in balance["phases"]), balance["reward"]]
    specialists = [cell.method for cell in make_cells(lab, Path()) if cell.seed == lab.seeds[0]]
    assert {f"specialist-{reward}" for reward in stages} <= set(specialists)
    assert len(stages) == sum(name.startswith("specialist-") for name in specialists)
