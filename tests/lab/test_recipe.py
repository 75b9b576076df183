from __future__ import annotations

from pathlib import Path

import pytest

from marblecli.errors import BadInputError, RecipeError
from marblecli.lab.recipe import load_lab, rewards_of

BASE = "[rewards.ocr]\n[rewards.aesthetic]\n"


def write(folder: Path, text: str) -> Path:
    (folder / "base.toml").write_text(BASE)
    lab = folder / "lab.toml"
    lab.write_text(text)
    return lab


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load_lab(write(folder, text))
    return [str(problem) for problem in caught.value.problems]


def test_the_recipe_is_found_beside_the_lab_recipe(tmp_path: Path) -> None:
    lab = load_lab(write(tmp_path, 'recipe = "base.toml"\nseeds = [3]\n[methods.equal]\n'))
    assert lab.recipe == tmp_path / "base.toml"
    assert lab.seeds == (3,)
    assert not lab.specialists


def test_rewards_are_those_of_the_recipe_and_of_what_all_cells_set(tmp_path: Path) -> None:
    text = 'recipe = "base.toml"\nseeds = [0]\nspecialists = true\n[set.rewards.new]\nweight = 2'
    assert rewards_of(load_lab(write(tmp_path, text))) == ("ocr", "aesthetic", "new")


def test_all_faults_are_shown_at_once_with_the_nearest_name(tmp_path: Path) -> None:
    found = problems(
        tmp_path, 'recipe = "base.toml"\nseeds = [1, 1]\nmethod = 1\nspecialists = "x"'
    )
    assert found == [
        "seeds: each seed must be there once, got [1, 1]",
        'specialists: expected true or false, got "x"',
        "method: unknown key (did you mean 'methods'?)",
    ]


def test_what_only_the_whole_shows_is_shown_at_once_too(tmp_path: Path) -> None:
    text = """
recipe = "gone.toml"
seeds = [0]
reference = "equl"
[set]
run.seed = 1
[methods.equal]
"run.seed" = 2
[methods.specialist-ocr]
"""
    assert problems(tmp_path, text) == [
        f"recipe: no such file: {tmp_path / 'gone.toml'}",
        "methods.specialist-ocr: names that start with specialist- are those of specialists",
        "set.run.seed: is given by seeds",
        "methods.equal.run.seed: is given by seeds",
        "reference: no method 'equl' (did you mean 'equal'?); choose from equal, specialist-ocr",
    ]


def test_a_lab_without_methods_is_refused(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, 'recipe = "base.toml"\nseeds = [0]')
    assert found.startswith("methods: there is none")


def test_a_name_that_makes_no_folder_is_refused(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, 'recipe = "base.toml"\nseeds = [0]\n[methods."a/b"]')
    assert "must match" in found


def test_a_file_that_isnt_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"gone\.toml: can't read the recipe"):
        load_lab(tmp_path / "gone.toml")
