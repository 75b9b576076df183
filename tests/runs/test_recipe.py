from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from marblecli.errors import BadInputError, Problem, RecipeError
from marblecli.runs.recipe import dump_recipe, load_recipe
from marblecli.settings import ModelSettings
from support.recipes import RECIPE, accept, load, problems


def test_a_recipe_becomes_typed_settings(folder: Path) -> None:
    recipe = load(folder)
    assert recipe.run.name == "five"
    assert recipe.model.lora.rank == 4
    assert recipe.training.steps == 5
    assert recipe.rewards["read"].sources == ("ocr",)
    assert recipe.rewards["read"].options == {"language": "en"}


def test_later_overrides_win(folder: Path) -> None:
    assert load(folder, "run.seed=1", "run.seed=2").run.seed == 2


def test_all_faults_come_at_once(folder: Path) -> None:
    def refuse(name: str, options: Mapping[str, Any]) -> list[Problem]:
        return [Problem(f"rewards.{name}", "unknown reward")] if name == "sharp" else []

    overrides = [
        "nonsense",
        "training.stpes=3",
        "training.steps=many",
        "sampling.group_size=1",
        "sampling.resolution=500",
        "model.mode=lorra",
        "prompts.ocr.train=none.txt",
        'rewards.read.sources=["orc"]',
        "training.noise_levels=0",
        "model.pretrained=./absent",
    ]
    with pytest.raises(RecipeError) as caught:
        load_recipe(folder / "recipe.toml", overrides, refuse)
    keys = {problem.key for problem in caught.value.problems}
    assert keys == {
        "--set nonsense",
        "training.stpes",
        "training.steps",
        "sampling.group_size",
        "sampling.resolution",
        "model.mode",
        "prompts.ocr.train",
        "rewards.read.sources",
        "training.noise_levels",
        "model.pretrained",
        "rewards.sharp",
    }
    text = str(caught.value).splitlines()
    assert len(text) == 11
    assert all(line.startswith(f"{folder / 'recipe.toml'}: ") for line in text)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("training.stpes=3", "training.stpes: unknown key (did you mean 'steps'?)"),
        ("group_size=4", "group_size: unknown key (did you mean 'sampling.group_size'?)"),
        ("prompts.ocr.trian=x", "prompts.ocr.trian: unknown key (did you mean 'train'?)"),
        ("training.steps=many", 'training.steps: expected a whole number, got "many"'),
        (
            "sampling.group_size=1",
            "sampling.group_size: must be at least 2, got 1: "
            "an image's advantage is relative to the other images of its prompt",
        ),
        (
            "training.levels.std=2",
            'training.levels: std needs draw = "logit-normal"',
        ),
        (
            'rewards.read.sources=["orc"]',
            "rewards.read.sources: no prompt source 'orc' (did you mean 'ocr'?)",
        ),
        (
            'rewards.read.sources=["zzz"]',
            "rewards.read.sources: no prompt source 'zzz'; choose from ocr, plain",
        ),
    ],
)
def test_a_fault_says_what_helps(folder: Path, override: str, line: str) -> None:
    assert problems(folder, override) == [line]


def test_an_empty_recipe_names_what_it_needs(folder: Path) -> None:
    (folder / "recipe.toml").write_text("")
    found = problems(folder)
    assert [line.partition(":")[0] for line in found] == ["model", "prompts", "rewards", "training"]
    assert "[prompts.SOURCE]" in found[1]


def test_the_reward_check_gets_the_plugins_own_options_only(folder: Path) -> None:
    seen = {}

    def note(name: str, options: Mapping[str, Any]) -> list[Problem]:
        seen[name] = dict(options)
        return []

    load_recipe(folder / "recipe.toml", [], note)
    assert seen == {"sharp": {}, "read": {"language": "en"}}


def asked_of_the_model(folder: Path, *overrides: str) -> list[tuple[ModelSettings, int | None]]:
    """What ``check_model`` is asked; its fault must be among the recipe's others."""
    asked: list[tuple[ModelSettings, int | None]] = []
    fault = Problem("model.pretrained", "isn't wanted")

    def check(model: ModelSettings, resolution: int | None) -> list[Problem]:
        asked.append((model, resolution))
        return [fault]

    with pytest.raises(RecipeError) as caught:
        load_recipe(folder / "recipe.toml", overrides, accept, check)
    assert (fault in caught.value.problems) == bool(asked)
    return asked


def test_the_model_is_checked_as_far_as_its_table_is_sound(folder: Path) -> None:
    ((model, resolution),) = asked_of_the_model(folder, "sampling.resolution=520")
    assert (model.pretrained, model.lora.rank, resolution) == (str(folder / "tiny"), 4, 520)
    wrong = ("model.dtype=fp8", "model.lora.rank=0", "sampling.resolution=7")
    ((model, resolution),) = asked_of_the_model(folder, *wrong)
    assert (model.dtype, model.lora.rank, resolution) == ("bf16", 32, None)
    assert [side for _, side in asked_of_the_model(folder, "sampling=3")] == [None]
    for unknown in ("model.pretrained=3", "model=3", "model.pretrained=./none"):
        assert asked_of_the_model(folder, unknown) == []


def test_adapters_need_a_layer_to_sit_on(folder: Path) -> None:
    (line,) = problems(folder, "model.lora.targets=[]")
    assert line.endswith("must name at least one layer, or be 'all-linear'")


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="can't read the recipe: No such file"):
        load(tmp_path)
    (tmp_path / "recipe.toml").write_text("[run\n")
    with pytest.raises(BadInputError, match=r"isn't valid TOML: .*line 1") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_dumped_recipe_loads_to_an_equal_one_from_anywhere(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    recipe = load(
        folder,
        "rewards.read.since=2024-05-01",
        'rewards.read.table={deep=[1, 2.5], "odd key"=true}',
        "rewards.sharp.options=3",
        'tracking.log_with=["tensorboard"]',
        "model.revision=main",
        "model.t5=none",
        "model.options=3",
    )
    assert recipe.rewards["read"].options["since"] == date(2024, 5, 1)
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "recipe.toml"
    elsewhere.write_text(dump_recipe(recipe))
    assert load_recipe(elsewhere, [], accept) == recipe


def test_sizes_and_targets_may_be_words(folder: Path) -> None:
    overrides = ["training.micro_batch_size=auto", "model.lora.targets=all-linear"]
    recipe = load(folder, *overrides)
    assert (recipe.training.micro_batch_size, recipe.model.lora.targets) == ("auto", "all-linear")
    wrong = ["training.micro_batch_size=0", "model.lora.targets=linear"]
    assert problems(folder, *wrong) == [
        "model.lora.targets: must be a list of names or 'all-linear', got 'linear'",
        "training.micro_batch_size: must be a whole number above 0 or 'auto', got 0",
    ]


@pytest.mark.parametrize("found", ["0", '"one"', "true", "1.5"])
def test_a_schema_that_is_none_is_refused(folder: Path, found: str) -> None:
    with pytest.raises(BadInputError, match=r"recipe\.toml: schema must be a whole number above 0"):
        load(folder, f"schema={found}")


def test_a_recipe_may_say_its_schema(folder: Path) -> None:
    (folder / "recipe.toml").write_text("schema = 1\n" + RECIPE)
    assert load(folder).run.name == "five"


def test_a_recipe_of_a_newer_version_is_refused_in_one_line(folder: Path) -> None:
    (folder / "recipe.toml").write_text("schema = 2\nnew_table = 3\n" + RECIPE)
    with pytest.raises(BadInputError, match="has schema 2, written by a newer version") as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_a_dumped_recipe_says_its_schema_first(folder: Path) -> None:
    assert dump_recipe(load(folder)).startswith("schema = 1\n")
