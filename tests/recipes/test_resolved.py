"""The shipped recipes don't follow the defaults: their sizes are pinned in ``resolved.json``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from marblecli.runs.recipe import load_recipe, recipe_table

HERE = Path(__file__).parent
RECIPES = HERE.parents[1] / "recipes"
PINNED = json.loads((HERE / "resolved.json").read_text(encoding="utf-8"))


def test_every_recipe_is_pinned() -> None:
    assert PINNED.keys() == {path.name for path in RECIPES.glob("*.toml")}


@pytest.mark.parametrize("name", PINNED)
def test_a_shipped_recipe_resolves_to_the_same_settings_as_ever(name: str) -> None:
    table = recipe_table(load_recipe(RECIPES / name, [], lambda _name, _options: []))
    for section, pinned in PINNED[name].items():
        found = {key: value for key, value in table[section].items() if key in pinned}
        assert found == pinned, section
