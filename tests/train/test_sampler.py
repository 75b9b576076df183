from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from marblecli.models.average import averaged_weights
from marblecli.runs.unrecorded import Unrecorded
from marblecli.train.evaluate import evaluate
from marblecli.train.loop import Progress, train_step
from marblecli.train.sampler import PromptSets, evaluation_prompts, open_sampler
from marblecli.types import Prompt
from support.training import PROMPTS, make_suite, open_recipe, tiny_recipe


def test_only_the_texts_that_are_asked_for_are_embedded(tiny_folder: Path) -> None:
    recipe = tiny_recipe(tiny_folder, {})
    sampler = open_sampler(recipe, PROMPTS, lambda _: make_suite({}), texts=["a red square"])
    with sampler.suite:
        sampler.backbone.conditioning(["a red square"])
        with pytest.raises(KeyError):
            sampler.backbone.conditioning([PROMPTS.train[0][0].text])


def test_by_default_every_prompt_is_embedded(tiny_folder: Path) -> None:
    recipe = tiny_recipe(tiny_folder, {})
    sampler = open_sampler(recipe, PROMPTS, lambda _: make_suite({}))
    with sampler.suite:
        sampler.backbone.conditioning(sorted(PROMPTS.texts()))


def test_the_texts_are_those_of_training_and_of_every_split() -> None:
    prompts = PromptSets(
        train=((Prompt("a", "one"),), (Prompt("b", "two"),)),
        evaluation={"train": (Prompt("a", "one"),), "held-out": (Prompt("c", "one"),)},
    )
    assert prompts.texts() == {"a", "b", "c"}


def source(name: str, count: int) -> tuple[Prompt, ...]:
    return tuple(Prompt(f"{name}{index}", name) for index in range(count))


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (0, []),
        (1, ["b0"]),
        (3, ["a0", "b0", "c0"]),
        (5, ["a0", "a1", "b0", "c0", "c1"]),
        (7, ["a0", "a1", "a2", "b0", "c0", "c1", "c2"]),
        (100, ["a0", "a1", "a2", "b0", "c0", "c1", "c2", "c3"]),
    ],
)
def test_evaluation_prompts_come_evenly_from_the_sources(limit: int, expected: list[str]) -> None:
    """The first prompts of each source are taken in turn, and listed source by source."""
    sources = [source("b", 1), source("a", 3), source("c", 4)]
    assert [prompt.text for prompt in evaluation_prompts(sources, limit)] == expected


def test_no_source_gives_no_evaluation_prompts() -> None:
    assert evaluation_prompts([], 5) == ()


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_without_an_old_policy_the_others_evaluate_as_before(mode: str, tiny_folder: Path) -> None:
    """As ``marble eval`` opens a run: the averaged weights, loaded as the trained ones."""
    recipe = tiny_recipe(tiny_folder, {"model.mode": mode})
    trainer = open_recipe(recipe)
    train_step(trainer, Unrecorded(), Progress())
    average = dict(trainer.average.tensors())
    with averaged_weights(trainer.sampler.policies, trainer.average):
        expected = evaluate(trainer.sampler, "trained", "train")
    alone = open_sampler(recipe, PROMPTS, lambda _: make_suite({}), old=False)
    assert alone.policies.old_parameters() == {}
    alone.policies.load_trained(average)
    found = evaluate(alone, "trained", "train")
    np.testing.assert_allclose(found.table.values, expected.table.values, rtol=1e-5)
    base, again = (evaluate(s, "reference", "train") for s in (alone, trainer.sampler))
    np.testing.assert_allclose(base.table.values, again.table.values, rtol=1e-5)
    for sampler in (alone, trainer.sampler):
        sampler.suite.close()


def test_without_an_old_policy_full_mode_holds_a_network_less(tiny_folder: Path) -> None:
    recipe = tiny_recipe(tiny_folder, {"model.mode": "full"})
    both = [
        open_sampler(recipe, PROMPTS, lambda _: make_suite({}), old=old) for old in (True, False)
    ]
    networks = [len(sampler.policies._networks_to_compile()) for sampler in both]
    assert networks == [3, 2]
    for sampler in both:
        sampler.suite.close()
