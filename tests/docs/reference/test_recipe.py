from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from marblecli.rewards import host
from marblecli.settings import Recipe
from reference.options import NamedThing, undescribed
from reference.recipe import PLUGINS, recipe_page, recipe_tables, shipped_rewards

TABLES = list(recipe_tables(Recipe))
SHIPPED = shipped_rewards()


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_every_field_has_a_description(table: type[BaseModel]) -> None:
    assert not undescribed(table)


@pytest.mark.parametrize("reward", SHIPPED, ids=[reward.name for reward in SHIPPED])
def test_every_option_of_a_shipped_reward_has_a_description(reward: NamedThing) -> None:
    assert not undescribed(reward.options)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_every_table_begins_with_its_name_and_says_what_it_is(table: type[BaseModel]) -> None:
    name, _, text = (table.__doc__ or "").partition(": ")
    assert name.startswith("``[")
    assert name.endswith("]``")
    assert text


def test_every_key_of_the_shipped_recipes_is_on_the_page() -> None:
    page = recipe_page()
    shipped = {thing.name for thing in SHIPPED}
    for file in sorted((PLUGINS.parent / "recipes").glob("*.toml")):
        for name, table in tomllib.loads(file.read_text()).items():
            assert f"## `[{name}" in page
            for key, value in table.items():
                if name == "rewards":
                    assert key in shipped
                elif not isinstance(value, dict):
                    assert f"| `{key}` |" in page


def test_every_reward_of_the_plugins_is_on_the_page() -> None:
    for name, reward in host.discover().rewards.items():
        if (PLUGINS / reward.distribution).is_dir():
            assert f"### `{name}`" in recipe_page()


def test_a_plugin_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "marble-reward-missing").mkdir()
    (tmp_path / "marble-reward-missing" / "pyproject.toml").touch()
    monkeypatch.setattr("reference.recipe.PLUGINS", tmp_path)
    with pytest.raises(SystemExit, match="not installed: marble-reward-missing"):
        shipped_rewards()
