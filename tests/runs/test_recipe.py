from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from marblecli.errors import BadInputError, Problem, RecipeError
from marblecli.runs.recipe import dump_recipe, load_recipe
from marblecli.settings import ModelSettings, Recipe

RECIPE = """
[run]
name = "five"
[model]
pretrained = "tiny"
[model.lora]
rank = 4
[prompts.ocr]
train = "prompts/train.txt"
eval = "prompts/test.jsonl"
[prompts.plain]
train = "prompts/train.txt"
[rewards.sharp]
[rewards.read]
sources = ["ocr"]
weight = 2
language = "en"
[sampling]
steps = 10
[training]
steps = 5
noise_levels = 2
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a recipe, its prompts and a model that looks like Stable Diffusion 3."""
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "train.txt").write_text("a cat\n")
    (tmp_path / "prompts" / "test.jsonl").write_text('{"prompt": "a dog"}\n')
    write_model(tmp_path / "tiny", "StableDiffusion3Pipeline", "SD3Transformer2DModel")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path


def write_model(folder: Path, pipeline: str, transformer: str) -> None:
    (folder / "transformer").mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    config = json.dumps({"_class_name": transformer})
    (folder / "transformer" / "config.json").write_text(config)


def accept(name: str, options: Mapping[str, Any]) -> list[Problem]:
    return []


def load(folder: Path, *overrides: str) -> Recipe:
    return load_recipe(folder / "recipe.toml", overrides, accept)


def lines(folder: Path, *overrides: str) -> Sequence[str]:
    with pytest.raises(RecipeError) as caught:
        load(folder, *overrides)
    return [str(problem) for problem in caught.value.problems]


def test_a_recipe_becomes_typed_settings(folder: Path) -> None:
    recipe = load(folder)
    assert recipe.run.name == "five"
    assert recipe.model.lora.rank == 4
    assert recipe.training.steps == 5
    assert recipe.rewards["read"].sources == ("ocr",)
    assert recipe.rewards["read"].options == {"language": "en"}


def test_paths_are_relative_to_the_recipe(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    recipe = load(folder)
    assert recipe.prompts["ocr"].train == folder / "prompts" / "train.txt"
    assert recipe.prompts["ocr"].eval == folder / "prompts" / "test.jsonl"
    assert recipe.model.pretrained == str(folder / "tiny")


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("model.mode=full", ("model", "mode"), "full"),
        ("training.steps=3", ("training", "steps"), 3),
        ("training.learning_rate=1e-3", ("training", "learning_rate"), 1e-3),
        ("training.learning_rate=.5", ("training", "learning_rate"), 0.5),
        ("run.name = spaced", ("run", "name"), "spaced"),
        ('run.name="quoted"', ("run", "name"), "quoted"),
        ("training.old_policy.cap=0.5", ("training", "old_policy", "cap"), 0.5),
        ('tracking.log_with=["tensorboard"]', ("tracking", "log_with"), ["tensorboard"]),
        ('rewards.sharp.sources=["plain"]', ("rewards", "sharp", "sources"), ["plain"]),
        ("rewards.read.language=fr", ("rewards", "read", "options", "language"), "fr"),
        ("rewards.new.depth=7", ("rewards", "new", "options", "depth"), 7),
        ("rewards.read={}", ("rewards", "read", "options"), {}),
    ],
)
def test_overrides_reach_every_field(
    folder: Path, override: str, path: tuple[str, ...], value: object
) -> None:
    found: Any = load(folder, override).model_dump(mode="json")
    for part in path:
        found = found[part]
    assert found == value


def test_later_overrides_win(folder: Path) -> None:
    assert load(folder, "run.seed=1", "run.seed=2").run.seed == 2


def test_overridden_paths_are_relative_to_the_recipe_too(folder: Path) -> None:
    (folder / "other.txt").write_text("x")
    recipe = load(folder, "prompts.ocr.train=other.txt")
    assert recipe.prompts["ocr"].train == folder / "other.txt"


@pytest.mark.parametrize("override", ["training.steps", "=3", "training..steps=3", "#=1", "a b=1"])
def test_a_malformed_override_is_named(folder: Path, override: str) -> None:
    assert lines(folder, override) == [f"--set {override}: expected KEY=VALUE with a dotted key"]


def test_an_override_through_a_value_is_named(folder: Path) -> None:
    assert lines(folder, "run.name.first=x") == ["--set run.name.first=x: run.name is no table"]


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
        "training.noise_levels=11",
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
            "training.noise_levels=11",
            "training.noise_levels: must be at most sampling.steps = 10, got 11: "
            "levels are drawn from the sampler's grid",
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
    assert lines(folder, override) == [line]


def test_the_default_noise_levels_are_checked_too(folder: Path) -> None:
    text = RECIPE.replace("noise_levels = 2", "")
    (folder / "recipe.toml").write_text(text)
    (line,) = lines(folder)
    assert line.startswith("training.noise_levels: must be at most sampling.steps = 10, got 24")


def test_an_empty_recipe_names_what_it_needs(folder: Path) -> None:
    (folder / "recipe.toml").write_text("")
    found = lines(folder)
    assert [line.partition(":")[0] for line in found] == ["model", "prompts", "rewards", "training"]
    assert "[prompts.SOURCE]" in found[1]


def test_tables_of_another_type_are_faults_not_crashes(folder: Path) -> None:
    for key in ("model", "prompts", "rewards", "training", "prompts.ocr", "rewards.read"):
        assert any("table" in line for line in lines(folder, f"{key}=3"))


def test_the_reward_check_gets_the_plugins_own_options_only(folder: Path) -> None:
    seen = {}

    def note(name: str, options: Mapping[str, Any]) -> list[Problem]:
        seen[name] = dict(options)
        return []

    load_recipe(folder / "recipe.toml", [], note)
    assert seen == {"sharp": {}, "read": {"language": "en"}}


def test_prompt_files_must_be_of_a_known_kind(folder: Path) -> None:
    (folder / "p.csv").write_text("x")
    (line,) = lines(folder, "prompts.ocr.eval=p.csv")
    assert line == f"prompts.ocr.eval: must be .jsonl or .txt: {folder / 'p.csv'}"


def test_a_hub_id_stays_as_it_is(folder: Path) -> None:
    name = "stabilityai/stable-diffusion-3.5-medium"
    assert load(folder, f"model.pretrained={name}").model.pretrained == name


@pytest.mark.parametrize("value", ["./none", "/none/at/all", "none", "a/b/c", "prompts/none"])
def test_a_missing_model_folder_is_a_fault(folder: Path, value: str) -> None:
    (line,) = lines(folder, f"model.pretrained={value}")
    assert line.startswith("model.pretrained: no such folder, and no hub id (OWNER/NAME): ")


def asked_of_the_model(folder: Path, *overrides: str) -> list[tuple[ModelSettings, int | None]]:
    """What ``check_model`` is asked, and that its fault is told with the recipe's others."""
    asked: list[tuple[ModelSettings, int | None]] = []

    def check(model: ModelSettings, resolution: int | None) -> list[Problem]:
        asked.append((model, resolution))
        return [Problem("model.t5", "isn't wanted")]

    with pytest.raises(RecipeError) as caught:
        load_recipe(folder / "recipe.toml", overrides, accept, check)
    told = Problem("model.t5", "isn't wanted") in caught.value.problems
    assert told == bool(asked)
    return asked


def test_the_familys_keys_and_the_images_side_are_checked_by_the_model(folder: Path) -> None:
    assert load(folder, "model.t5=none", "model.tokens=3").model.options == {
        "t5": "none",
        "tokens": 3,
    }
    ((model, resolution),) = asked_of_the_model(folder, "model.t5=none", "sampling.resolution=520")
    assert (model.pretrained, model.options) == (str(folder / "tiny"), {"t5": "none"})
    assert resolution == 520


def test_the_model_is_checked_as_far_as_its_tables_are_right(folder: Path) -> None:
    wrong = ("model.dtype=fp8", "model.lora.rank=0", "model.t5=none", "sampling.resolution=7")
    ((model, resolution),) = asked_of_the_model(folder, *wrong)
    assert (model.dtype, model.lora.rank, model.options) == ("bf16", 32, {"t5": "none"})
    assert resolution is None
    assert [side for _, side in asked_of_the_model(folder)] == [512]
    assert asked_of_the_model(folder, "model.pretrained=3") == []
    assert asked_of_the_model(folder, "model=3") == []
    assert asked_of_the_model(folder, "model.pretrained=./none") == []
    assert [side for _, side in asked_of_the_model(folder, "sampling=3")] == [None]


def test_adapters_need_a_layer_to_sit_on(folder: Path) -> None:
    (line,) = lines(folder, "model.lora.targets=[]")
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


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["balance.gram=signal", "measure.parts=false"],
            'balance.gram: "signal" needs measure.parts = true',
        ),
        (
            ["balance.gram=signal", "training.gradients=backward"],
            'balance.gram: "signal" needs training.gradients = "contracted"',
        ),
        (
            ["measure.fresh_every=2", "measure.parts=false"],
            "measure.fresh_every: needs measure.parts = true",
        ),
        (["model.lora.dora=true"], 'model.lora.dora: needs training.gradients = "backward"'),
        (
            ["model.lora.dora=true", "training.gradients=backward", "measure.fresh_every=1"],
            "measure.fresh_every: must be 0 with model.lora.dora",
        ),
    ],
)
def test_what_needs_parts_or_two_backward_passes_is_named(
    folder: Path, overrides: list[str], line: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(folder / "recipe.toml", overrides, accept)
    assert len(caught.value.problems) == 1
    assert line in str(caught.value)


SHARDED = ["model.shard=true", "model.mode=full"]


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["model.shard=true"], 'model.shard: needs model.mode = "full"'),
        ([*SHARDED, "model.compile=true"], "model.compile: can't be true with model.shard"),
        (
            [*SHARDED, "training.gradients=backward"],
            'training.gradients: can\'t be "backward" with model.shard',
        ),
        (
            [*SHARDED, "training.micro_batch_size=auto"],
            'training.micro_batch_size: can\'t be "auto" with model.shard',
        ),
        (
            [*SHARDED, "training.optimizer=adamw-8bit"],
            'training.optimizer: can\'t be "adamw-8bit" with model.shard',
        ),
        (
            [*SHARDED, "balance.method=marble-published"],
            "balance.method: can't be marble-published with model.shard",
        ),
        (
            [*SHARDED, 'balance.phases=[{method = "marble-published", until = 2}]'],
            "balance.method: can't be marble-published with model.shard",
        ),
    ],
)
def test_what_cant_be_divided_is_named(folder: Path, overrides: list[str], line: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(folder / "recipe.toml", overrides, accept)
    assert len(caught.value.problems) == 1
    assert line in str(caught.value)


def test_full_mode_can_be_divided(folder: Path) -> None:
    checkpointed = [*SHARDED, "model.gradient_checkpointing=true", "balance.refresh_every=4"]
    assert load_recipe(folder / "recipe.toml", checkpointed, accept).model.shard
    # What only a divided run refuses.
    undivided = ["model.shard=false", "training.micro_batch_size=auto", "model.compile=true"]
    assert not load_recipe(folder / "recipe.toml", undivided, accept).model.shard


def test_gradients_without_parts_and_dora_have_their_way(folder: Path) -> None:
    overrides = ["measure.parts=false", "balance.gram=whole"]
    assert not load_recipe(folder / "recipe.toml", overrides, accept).measure.parts
    overrides = ["model.lora.dora=true", "training.gradients=backward"]
    assert load_recipe(folder / "recipe.toml", overrides, accept).model.lora.dora


def test_the_embedding_cache_is_relative_to_the_recipe(folder: Path) -> None:
    recipe = load_recipe(folder / "recipe.toml", ["model.embedding_cache=cache"], accept)
    assert recipe.model.embedding_cache == folder / "cache"


def test_sizes_and_targets_may_be_words(folder: Path) -> None:
    overrides = ["training.micro_batch_size=auto", "model.lora.targets=all-linear"]
    recipe = load_recipe(folder / "recipe.toml", overrides, accept)
    assert (recipe.training.micro_batch_size, recipe.model.lora.targets) == ("auto", "all-linear")
    wrong = ["training.micro_batch_size=0", "model.lora.targets=linear"]
    with pytest.raises(RecipeError) as caught:
        load_recipe(folder / "recipe.toml", wrong, accept)
    assert [str(problem) for problem in caught.value.problems] == [
        "model.lora.targets: must be a list of names or 'all-linear', got 'linear'",
        "training.micro_batch_size: must be a whole number above 0 or 'auto', got 0",
    ]
