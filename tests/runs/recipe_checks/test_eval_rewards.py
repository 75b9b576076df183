from __future__ import annotations

from pathlib import Path

import pytest

from marblecli.runs.recipe import dump_recipe, load_recipe
from support.recipes import accept, load, problems, write_recipe


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_recipe(tmp_path)
    return tmp_path


def test_rewards_that_are_only_evaluated_follow_the_trained_ones(folder: Path) -> None:
    recipe = load(folder, 'eval.rewards.extra={language = "de", timeout = 3}')
    assert list(recipe.rewards) == ["sharp", "read"]
    assert list(recipe.all_rewards) == ["sharp", "read", "extra"]
    assert recipe.eval.rewards["extra"].options == {"language": "de"}
    assert recipe.eval.rewards["extra"].timeout == 3


def test_they_are_written_and_read_again(folder: Path) -> None:
    recipe = load(folder, 'eval.rewards.extra={language = "de"}')
    (folder / "again.toml").write_text(dump_recipe(recipe))
    assert load_recipe(folder / "again.toml", [], accept) == recipe


def test_a_reward_isnt_both_trained_and_only_evaluated(folder: Path) -> None:
    (problem,) = problems(folder, "eval.rewards.sharp={}")
    assert problem.startswith("eval.rewards.sharp: is trained by [rewards.sharp]")


def test_a_source_that_isnt_there_is_named(folder: Path) -> None:
    (problem,) = problems(folder, 'eval.rewards.extra.sources=["orc"]')
    assert problem.startswith("eval.rewards.extra.sources: no prompt source 'orc'")


def test_what_a_plugin_says_of_its_options_has_the_whole_key(folder: Path) -> None:
    from marblecli.errors import Problem, RecipeError

    def refuse(name: str, options: object) -> list[Problem]:
        return [Problem(f"rewards.{name}.language", "is odd")] if name == "extra" else []

    with pytest.raises(RecipeError) as caught:
        load_recipe(folder / "recipe.toml", ["eval.rewards.extra={}"], refuse)
    assert [str(one) for one in caught.value.problems] == ["eval.rewards.extra.language: is odd"]
