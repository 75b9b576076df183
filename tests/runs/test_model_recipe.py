from __future__ import annotations

from pathlib import Path

import pytest

from marblecli.errors import Problem, RecipeError
from marblecli.runs.model_recipe import model_recipe, read_model_recipe
from marblecli.settings import ModelSettings
from support.recipes import write_recipe


def accept(model: ModelSettings, side: int | None) -> list[Problem]:
    return []


def refuse(model: ModelSettings, side: int | None) -> list[Problem]:
    return [Problem("sampling.resolution", f"{side} is no good")]


def test_prompts_rewards_and_balance_need_not_be_there(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    text = path.read_text() + '[balance]\nmethod = "of a package that is gone"\n'
    path.write_text(text.replace("prompts/train.txt", "gone.txt"))
    recipe = read_model_recipe(path, ["sampling.resolution=64"], accept)
    assert recipe.model.pretrained == str(tmp_path / "tiny")
    assert recipe.model.lora.rank == 4
    assert (recipe.sampling.steps, recipe.sampling.resolution) == (10, 64)
    assert recipe.run.name == "five"
    assert not recipe.prompts
    assert not recipe.rewards
    assert recipe.eval.steps == 40


def test_the_rest_is_checked_and_all_faults_are_told(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    with pytest.raises(RecipeError) as caught:
        read_model_recipe(path, ["sampling.steps=1", "model.dtype=fp8", "x"], accept)
    assert {problem.key for problem in caught.value.problems} >= {"sampling.steps", "model.dtype"}
    with pytest.raises(RecipeError, match=r"sampling\.resolution: 512 is no good"):
        read_model_recipe(path, [], refuse)
    with pytest.raises(RecipeError, match=r"model\.pretrained: no such folder"):
        read_model_recipe(path, ["model.pretrained=./gone"], accept)


def test_a_model_alone_has_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_recipe(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert model_recipe("me/model", [], accept).model.pretrained == "me/model"
    recipe = model_recipe("./tiny", ["model.dtype=fp32"], accept)
    assert recipe.model.pretrained == str(tmp_path / "tiny")
    assert recipe.model.dtype == "fp32"
