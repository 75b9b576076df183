from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from marblecli.cli.setup import also_trained, also_trained_line, build_suite, load_plan
from marblecli.errors import RecipeError
from marblecli.settings import SamplingSettings
from marblecli.types import Prompt

InstallPlugin = Callable[..., None]

LETTERS = '{"prompt": "the text", "text": "EH", "background": "black", "colours": ["red"]}\n'


def with_letters(recipe: Path) -> Path:
    """The recipe with a second source, which is the only one with text."""
    (recipe.parent / "letters.jsonl").write_text(LETTERS)
    source = '[prompts.letters]\ntrain = "letters.jsonl"\n[rewards.shapes-letters]\n'
    recipe.write_text(source + recipe.read_text())
    return recipe


def test_a_plan_holds_the_prompts_by_source_in_the_recipes_order(recipe: Path) -> None:
    plan = load_plan(with_letters(recipe), [])
    assert [[prompt.source for prompt in source] for source in plan.train_prompts] == [
        ["letters"],
        ["scenes", "scenes"],
    ]
    # The source of letters has no held-out file.
    assert [[p.text for p in source] for source in plan.held_out_prompts] == [
        ["a blue square on black", "a green square on black"]
    ]


@pytest.mark.parametrize("quiet", [False, True])
def test_a_renamed_key_is_read_and_reported_in_one_line_on_stderr(
    recipe: Path, quiet: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = load_plan(recipe, ["training.anchor_share=0.5"], quiet=quiet)
    assert plan.recipe.training.pull_share == 0.5
    shown = capsys.readouterr()
    line = "training.anchor_share is now training.pull_share\n"
    assert (shown.out, shown.err) == ("", "" if quiet else line)


def test_a_reward_that_applies_to_no_prompt_is_named_with_what_it_needs(recipe: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load_plan(recipe, ["rewards.shapes-letters.weight=1"])
    assert str(caught.value) == (
        f"{recipe}: rewards.shapes-letters: applies to no training prompt; "
        "it needs the metadata background, colours, text"
    )


def test_a_reward_that_is_only_evaluated_needs_some_prompt_of_the_recipe(recipe: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load_plan(recipe, ["eval.rewards.shapes-letters={}"])
    assert str(caught.value) == (
        f"{recipe}: eval.rewards.shapes-letters: applies to no prompt of the recipe; "
        "it needs the metadata background, colours, text"
    )
    (recipe.parent / "letters.jsonl").write_text(LETTERS)
    plan = load_plan(
        recipe, ["eval.rewards.shapes-letters={}", "prompts.scenes.eval=letters.jsonl"]
    )
    assert list(plan.recipe.all_rewards)[-1] == "shapes-letters"


def test_the_default_draws_at_most_as_many_prompts_as_there_are(recipe: Path) -> None:
    text = recipe.read_text()
    assert load_plan(recipe, ["sampling.prompts_per_step=4"]).recipe.sampling.prompts_per_step == 4
    recipe.write_text(text.replace("prompts_per_step = 2\n", ""))
    assert load_plan(recipe, []).recipe.sampling.prompts_per_step == 2
    many = "".join(f'{{"prompt": "a {place}", "background": "black"}}\n' for place in range(20))
    (recipe.parent / "train.jsonl").write_text((recipe.parent / "train.jsonl").read_text() + many)
    default = SamplingSettings().prompts_per_step
    assert load_plan(recipe, []).recipe.sampling.prompts_per_step == default == 8


def test_held_out_prompts_that_are_trained_on_are_counted_and_named(recipe: Path) -> None:
    plan = load_plan(recipe, [])
    held_out = plan.held_out_prompts[0]
    both = also_trained(plan, held_out)
    assert both == ("a blue square on black",)
    assert also_trained_line(both, len(held_out)) == (
        "1 of 2 held-out prompts are also trained on: 'a blue square on black'"
    )
    assert also_trained_line("abcde", 9).endswith("'a'; 'b'; 'c'; and 2 more")


def test_a_reward_whose_sources_it_does_not_apply_to_is_named(recipe: Path) -> None:
    letters = with_letters(recipe)
    with pytest.raises(RecipeError) as caught:
        load_plan(
            letters,
            [
                "rewards.shapes-letters.sources=['scenes']",
                "rewards.shapes-composition.sources=['letters']",
            ],
        )
    keys = [problem.key for problem in caught.value.problems]
    assert keys == ["rewards.shapes-letters", "rewards.shapes-composition"]
    assert caught.value.problems[0].message.endswith("in sources scenes")


def test_the_models_faults_are_reported_with_the_others(
    tiny_recipe: Path,
) -> None:
    overrides = [
        "model.gradient_checkpoint=true",
        "model.t5=4bit",
        'model.lora.targets=["attn.to_q", "attn.to_kk"]',
        "training.step=4",
    ]
    with pytest.raises(RecipeError) as caught:
        load_plan(tiny_recipe, overrides)
    told = {problem.key: problem.message for problem in caught.value.problems}
    assert set(told) == {
        "model.gradient_checkpoint",
        "model.t5",
        "model.lora.targets",
        "training.step",
    }
    assert "did you mean 'gradient_checkpointing'?" in told["model.gradient_checkpoint"]
    assert "did you mean 'attn.to_k'?" in told["model.lora.targets"]


def test_the_fault_of_a_side_that_the_model_cannot_make_names_the_nearest(
    tiny_recipe: Path,
) -> None:
    with pytest.raises(RecipeError) as caught:
        load_plan(tiny_recipe, ["sampling.resolution=40"])
    assert str(caught.value) == (
        f"{tiny_recipe}: sampling.resolution: must be a multiple of 8 and at most 32 with this "
        "model, got 40; the nearest are 24 or 32"
    )


def test_the_plans_recipe_has_the_familys_defaults_written_out(tiny_recipe: Path) -> None:
    plan = load_plan(tiny_recipe, [])
    assert plan.recipe.model.options == {"max_sequence_length": 1, "t5": "full"}
    assert plan.recipe.model.lora.targets == plan.family.spec.adapters.targets


def test_broken_prompt_files_are_named_by_key_and_line(recipe: Path) -> None:
    (recipe.parent / "train.jsonl").write_text('{"prompt": "a"}\n{"text": "b"}\n')
    with pytest.raises(RecipeError, match=r"prompts\.scenes\.train: .*train\.jsonl, line 2: "):
        load_plan(recipe, [])


def test_the_suite_has_the_recipes_rewards_with_their_sources(
    recipe: Path, install_plugin: InstallPlugin
) -> None:
    install_plugin(
        "constant",
        """
import numpy as np
from marblecli.rewards import NoOptions, RewardSpec, hookimpl

class Options(NoOptions):
    value: float = 1.0

@hookimpl
def marble_register_rewards(register):
    def build(options, device):
        return lambda batch: np.full(len(batch.prompts), options.value)
    register(RewardSpec("constant", "", build, options=Options))
""",
    )
    plan = load_plan(
        with_letters(recipe), ["rewards.constant.value=2.5", "rewards.constant.sources=['letters']"]
    )
    with build_suite(plan, "cpu") as suite:
        assert suite.names == tuple(plan.recipe.rewards)
        column = suite.names.index("constant")
        prompts = [Prompt("a", "scenes"), Prompt("b", "letters")]
        table = suite.score(torch.zeros(2, 3, 32, 32), prompts)
    assert table.valid[:, column].tolist() == [False, True]
    assert table.values[1, column] == 2.5
    assert np.array_equal(table.valid[:, suite.names.index("shapes-aesthetic")], [True, True])
