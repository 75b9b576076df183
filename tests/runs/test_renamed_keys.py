from __future__ import annotations

from pathlib import Path

import pytest

from marblecli.errors import RecipeError
from marblecli.runs.recipe import dump_recipe, load_recipe
from marblecli.runs.renamed_keys import RENAMED_KEYS, use_new_keys
from marblecli.settings import Recipe
from support.recipes import RECIPE, accept

LINE = "training.anchor_share is now training.pull_share"


def load(folder: Path, added: str, *overrides: str) -> tuple[Recipe, list[str]]:
    """A recipe with the line ``added`` in its last table, ``[training]``; and the notices."""
    told: list[str] = []
    (folder / "recipe.toml").write_text(f"{RECIPE}{added}\n")
    recipe = load_recipe(folder / "recipe.toml", overrides, accept, tell=told.append)
    return recipe, told


@pytest.mark.parametrize(
    ("added", "overrides", "share"),
    [
        ("anchor_share = 0.5", (), 0.5),
        ("", ("training.anchor_share=0.5",), 0.5),
        ("", ("training={anchor_share = 0.5, steps = 3, noise_levels = 2}",), 0.5),
        ("anchor_share = 0.5", ("training.anchor_share=0.25",), 0.25),
        ("anchor_share = 0.5", ("training.pull_share=0.25",), 0.25),
        ("pull_share = 0.5", ("training.anchor_share=0.25",), 0.25),
    ],
)
def test_an_old_key_is_read_as_the_new_one_and_reported_once(
    folder: Path, added: str, overrides: tuple[str, ...], share: float
) -> None:
    recipe, told = load(folder, added, *overrides)
    assert recipe.training.pull_share == share
    assert told == [LINE]
    assert "anchor_share" not in dump_recipe(recipe)


def test_new_keys_are_not_reported(folder: Path) -> None:
    recipe, told = load(folder, "pull_share = 0.5", "training.pull_share=0.25")
    assert (recipe.training.pull_share, told) == (0.25, [])


def test_both_names_in_one_recipe_are_a_fault_that_names_both(folder: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load(folder, "anchor_share = 0.5\npull_share = 0.5")
    (problem,) = caught.value.problems
    assert str(problem) == (
        "training.anchor_share: is now training.pull_share, which is set too; remove one of them"
    )


def test_the_value_of_an_old_key_is_checked_under_its_new_name(folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"training\.pull_share: must be at most 1"):
        load(folder, "anchor_share = 2.0")


def test_a_key_can_move_to_another_table() -> None:
    keys = {"a.b.old": "c.new"}
    table = {"a": {"b": {"old": 1, "other": 2}}}
    assert use_new_keys(table, replace=False, keys=keys) == (["a.b.old is now c.new"], [])
    assert table == {"a": {"b": {"other": 2}}, "c": {"new": 1}}
    for without in ({}, {"a": 3}, {"a": {"b": {"old": 1}}, "c": 4}):
        before = repr(without)
        assert use_new_keys(without, replace=False, keys=keys) == ([], [])
        assert repr(without) == before


def test_every_new_key_is_a_field_of_the_recipe_and_no_old_key_is() -> None:
    def is_field(dotted: str) -> bool:
        model = Recipe
        *tables, name = dotted.split(".")
        for part in tables:
            model = model.model_fields[part].annotation
        return name in model.model_fields

    assert all(is_field(new) for new in RENAMED_KEYS.values())
    assert not any(is_field(old) for old in RENAMED_KEYS)
