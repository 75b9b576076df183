from __future__ import annotations

import json
import runpy
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from marble_reward_geneval.request import parse_request
from marble_reward_ocr.similarity import normalise
from marble_reward_ocr.target import target_text
from marblecli.cli.setup import Plan, load_plan
from marblecli.maths.passes import step_passes
from marblecli.settings import Recipe
from marblecli.types import Prompt
from write_general import THEMES
from write_geneval import SceneKey, scene_key

RunAndTell = Callable[..., tuple[str, set[str]]]

RECIPE = Path(__file__).parents[2] / "recipes" / "five_rewards.toml"
PUBLISHED = RECIPE.with_name("five_rewards_published.toml")
PROMPTS = RECIPE.parent / "prompts" / "five_rewards"
EVERYWHERE = ("pickscore", "hpsv2", "clipscore")
PLANNED_WITH = {"torch", "safetensors", "diffusers", "transformers", "accelerate", "peft"}
HEAVY = {
    *("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors"),
    *("onnxruntime", "rapidocr", "cv2"),
}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return load_plan(RECIPE, [])


def prompts_of(plan: Plan, split: str) -> dict[str, tuple[Prompt, ...]]:
    """By source."""
    sources = plan.train_prompts if split == "train" else plan.held_out_prompts
    return dict(zip(plan.recipe.prompts, sources, strict=True))


def scored(plan: Plan, prompts: Iterable[Prompt]) -> dict[str, int]:
    """How many of the prompts each reward applies to."""
    return dict(
        Counter(
            name
            for prompt in prompts
            for name, entry in plan.recipe.rewards.items()
            if plan.catalog.get(name).spec.applies(prompt, entry.sources)
        )
    )


@pytest.mark.slow
def test_a_dry_run_shows_the_published_geometry_and_loads_nothing(
    run_and_tell: RunAndTell, tmp_path: Path
) -> None:
    # With a GPU's memory given, torch isn't asked for that of one that is there.
    shown, loaded = run_and_tell("train", PUBLISHED, "--dry-run", "--memory", 48, cwd=tmp_path)
    cells = [line.strip("│ ").split("│") for line in shown.splitlines() if line.count("│") == 3]
    table = {label.strip(): value.strip() for label, value in cells}
    assert table["model"] == "stabilityai/stable-diffusion-3.5-medium, lora, bf16"
    assert table["images a step"] == "48 prompts x 24 = 1152"
    assert table["sampling"] == "25 solver steps at 512 px"
    assert table["training"] == "1000 steps of 27648 rows (24 levels)"
    # 1152 images are 128 micro-batches of nine, at each of 24 levels.
    assert table["micro-batches a step"] == "3072 of at most 9 images"
    assert {f"prompts.{source}" for source in ("general", "ocr", "geneval")} < table.keys()
    assert {f"rewards.{name}" for name in (*EVERYWHERE, "ocr", "geneval")} < table.keys()
    assert "the recipe is valid" in shown
    # The plan of the memory runs the model's own classes, but loads no reward.
    assert not loaded & (HEAVY - PLANNED_WITH)
    assert not list(tmp_path.iterdir())


def test_the_constants_are_the_published_ones(plan: Plan) -> None:
    recipe, model, training = plan.recipe, plan.recipe.model, plan.recipe.training
    assert (model.lora.rank, model.lora.alpha) == (32, 64)
    assert model.options == {"max_sequence_length": 128, "t5": "full"}
    assert (training.learning_rate, training.weight_decay) == (3e-4, 1e-4)
    assert training.max_grad_norm == 1.0
    assert (training.mix, training.kl_weight, training.advantage_clip) == (0.1, 1e-4, 5.0)
    assert (training.old_policy.slope, training.old_policy.cap) == (0.001, 0.95)
    assert training.advantage_scale == "batch"
    assert {entry.weight for entry in recipe.rewards.values()} == {1.0}
    assert recipe.eval.steps == 40


def test_the_geometry_takes_a_sixth_of_the_published_passes(plan: Plan) -> None:
    """What a step takes with 2.25 TFLOP for a forward pass of SD3.5 Medium."""

    def passes(recipe: Recipe) -> float:
        images = recipe.sampling.prompts_per_step * recipe.sampling.group_size
        return images * step_passes(recipe).total

    own, published = passes(plan.recipe), passes(load_plan(PUBLISHED, []).recipe)
    assert own * 2.25e12 == pytest.approx(50e15, rel=0.01)
    assert published * 2.25e12 == pytest.approx(309e15, rel=0.01)


def test_the_sources_are_drawn_and_evaluated_equally(plan: Plan) -> None:
    recipe = plan.recipe
    assert tuple(recipe.prompts) == ("general", "ocr", "geneval")
    wanted = {"train": recipe.eval.train_prompts, "held-out": recipe.eval.held_out_prompts}
    for count in (recipe.sampling.prompts_per_step, *wanted.values()):
        assert count % 3 == 0
    for split, count in wanted.items():
        assert all(len(prompts) >= count / 3 for prompts in prompts_of(plan, split).values())


@pytest.mark.parametrize(("split", "count"), [("train", 900), ("held-out", 180)])
def test_which_rewards_score_which_source(plan: Plan, split: str, count: int) -> None:
    sources = prompts_of(plan, split)
    everywhere = dict.fromkeys(EVERYWHERE, count)
    assert scored(plan, sources["general"]) == everywhere
    assert scored(plan, sources["ocr"]) == {**everywhere, "ocr": count}
    assert scored(plan, sources["geneval"]) == {**everywhere, "geneval": count}


def test_the_files_are_what_the_generators_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands stand in the folder's README."""
    monkeypatch.chdir(tmp_path)
    lines = (PROMPTS / "README.md").read_text("utf-8").splitlines()
    commands = [line for line in lines if line.startswith("python ")]
    for _, script, *arguments in map(shlex.split, commands):
        # The commands are given for this folder.
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        runpy.run_path(str(PROMPTS / script), run_name="__main__")
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_bytes() for path in PROMPTS.iterdir()}
    assert kept.pop("README.md")
    assert written == kept
    assert sum(map(len, kept.values())) < 400_000


def test_the_recipe_uses_all_files(plan: Plan) -> None:
    used = {file for source in plan.recipe.prompts.values() for file in (source.train, source.eval)}
    assert used == {path.resolve() for path in PROMPTS.iterdir() if path.suffix != ".md"}


def test_nothing_held_out_is_trained_on(plan: Plan) -> None:
    train, held_out = (prompts_of(plan, split) for split in ("train", "held-out"))
    for source in plan.recipe.prompts:
        texts = [{prompt.text for prompt in split[source]} for split in (train, held_out)]
        assert not texts[0] & texts[1]
        assert [len(one) for one in texts] == [len(split[source]) for split in (train, held_out)]
    for contents in (general_scenes, quoted_texts, geneval_scenes):
        trained, kept = contents(train), contents(held_out)
        assert len(trained) == 900
        assert len(kept) == 180
        assert not trained & kept


def general_scenes(prompts: dict[str, tuple[Prompt, ...]]) -> set[str]:
    told = "\n".join(prompt.text for prompt in prompts["general"])
    everything = (theme.scene(number) for theme in THEMES for number in range(theme.size))
    return {scene for scene in everything if scene in told}


def quoted_texts(prompts: dict[str, tuple[Prompt, ...]]) -> set[str]:
    return {normalise(str(target_text(p.text, p.metadata))) for p in prompts["ocr"]}


def geneval_scenes(prompts: dict[str, tuple[Prompt, ...]]) -> set[SceneKey]:
    return {scene_key(parse_request(prompt.metadata)) for prompt in prompts["geneval"]}


def test_published_formats_are_taken_too(tmp_path: Path) -> None:
    (tmp_path / "general.txt").write_text("a cat\na dog\n", "utf-8")
    (tmp_path / "ocr.txt").write_text('a sign that says "Open"\na cup labeled "Tea"\n', "utf-8")
    line = {"tag": "single_object", "include": [{"class": "cat", "count": 1}], "prompt": "a cat"}
    (tmp_path / "geneval.jsonl").write_text(json.dumps(line) + "\n", "utf-8")
    files = {"general": "general.txt", "ocr": "ocr.txt", "geneval": "geneval.jsonl"}
    overrides = [f"prompts.{source}.train={tmp_path / file}" for source, file in files.items()]
    plan = load_plan(RECIPE, overrides)
    everyone = [prompt for source in plan.train_prompts for prompt in source]
    assert scored(plan, everyone) == {**dict.fromkeys(EVERYWHERE, 5), "ocr": 2, "geneval": 1}


def test_it_opens_with_its_command_and_its_cost() -> None:
    opening = RECIPE.read_text("utf-8").split("\n[run]")[0].splitlines()
    assert opening[0] == "# marble train recipes/five_rewards.toml"
    cost = next(line for line in opening if line.startswith("# Cost"))
    assert "H200" in cost
    assert any("Not measured" in line for line in opening)
