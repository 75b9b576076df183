from __future__ import annotations

from pathlib import Path

import pytest

from marblecli.cli.lab.check import check
from marblecli.errors import BadInputError, RecipeError
from marblecli.lab.grid import make_cells
from marblecli.lab.recipe import load_lab
from marblecli.runs.recipe import load_recipe
from marblecli.runs.recorder import RunRecorder
from support.recipes import accept


def checked(recipe: Path, text: str) -> None:
    source = recipe.with_name("lab.toml")
    source.write_text(f'recipe = "{recipe.name}"\nseeds = [0, 1]\n{text}')
    lab = load_lab(source)
    check(source, lab, make_cells(lab, recipe.with_name("lab")))


METHODS = '[methods.paper]\nbalance.method = "marble"\n[methods.even]\nbalance.method = "equal"\n'


def test_a_sound_lab_passes(recipe: Path) -> None:
    checked(recipe, f"specialists = true\n{METHODS}")


def test_faults_of_all_methods_are_shown_at_once_by_their_method(recipe: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        checked(
            recipe,
            '[methods.a]\nbalance.method = "marbel"\n[methods.b]\ntraining.step = 3\n[methods.c]\n',
        )
    found = [str(problem) for problem in caught.value.problems]
    assert len(found) == 2
    assert found[0].startswith("methods.a.balance.method: ")
    assert "'marble'" in found[0]
    assert found[1].startswith("methods.b.training.step: unknown key (did you mean 'steps'?)")


def test_a_fault_that_all_methods_share_is_shown_once(recipe: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        checked(recipe, f"[set]\nsampling.group_size = 1\n{METHODS}")
    (problem,) = caught.value.problems
    assert problem.key == "recipe: sampling.group_size"


def test_a_cell_that_was_begun_with_other_settings_is_refused(recipe: Path) -> None:
    folder = recipe.with_name("lab") / "cells" / "paper-seed0"
    RunRecorder.create(folder, load_recipe(recipe, ["training.learning_rate=0.5"], accept))
    with pytest.raises(BadInputError, match=rf"delete {folder} to train the cell anew"):
        checked(recipe, METHODS)
