from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from marblecli.planning.fake_model import ModelCase
from marblecli.planning.operations import StepOperations, count_operations
from marblecli.settings import Recipe
from support.planning import RESOLUTION, model_of, small_subject


def recipe_of(**overrides: Any) -> Recipe:
    table: dict[str, Any] = {
        "model": {"pretrained": "x"},
        "prompts": {"plain": {"train": "a.txt"}},
        "rewards": {"one": {}, "two": {}},
        "sampling": {
            "resolution": RESOLUTION, "steps": 3, "group_size": 2, "prompts_per_step": 4,
        },
        "training": {"steps": 2, "noise_levels": 2},
    }  # fmt: skip
    for key, value in overrides.items():
        section, name = key.split("__")
        table.setdefault(section, {})[name] = value
    return Recipe.model_validate(table).model_copy(update={"model": model_of(mode="lora")})


def count(processes: int = 1, **overrides: Any) -> StepOperations:
    return count_operations(recipe_of(**overrides), small_subject(num_layers=2), processes)


@pytest.fixture(scope="module")
def usual() -> StepOperations:
    return count()


def test_operations_grow_with_the_images_and_the_passes(usual: StepOperations) -> None:
    twice = count(sampling__prompts_per_step=8)
    assert twice.step == pytest.approx(2 * usual.step)
    assert twice.evaluated_image == usual.evaluated_image
    longer = count(sampling__steps=6)
    assert longer.sampling == pytest.approx(2 * usual.sampling)
    assert (longer.decoding, longer.gradients) == (usual.decoding, usual.gradients)
    assert count(training__noise_levels=1).gradients == pytest.approx(usual.gradients / 2)


def test_processes_share_the_prompts(usual: StepOperations) -> None:
    """Of three processes, one has two of the four prompts, as each of two has."""
    assert count(processes=3).step == pytest.approx(usual.step / 2)


def test_fewer_pulls_more_rewards_and_reuse_cost_what_they_should(usual: StepOperations) -> None:
    quarter = count(training__pull_share=0.25).gradients
    forward = usual.sampling / (8 * 3)
    # Each row without the pull saves at least the reference's forward pass, and a backward pass.
    assert usual.gradients - quarter > 0.75 * 16 * forward
    assert count(balance__refresh_every=10).gradients < usual.gradients
    many = count(rewards__three={}, rewards__four={}).gradients
    assert usual.gradients < many < 1.2 * usual.gradients
    plain = count(training__gradients="backward", rewards__three={}, rewards__four={}).gradients
    assert plain > many


def test_a_forward_pass_has_the_operations_of_its_matrices(usual: StepOperations) -> None:
    """By hand, of the two blocks: 36 image tokens and those of the text, of width 128."""
    image, width = 36, 128
    case = small_subject(num_layers=2)
    shapes = case.conditioning_shapes(model_of(mode="lora"))
    text = next(shape[0] for shape in shapes.values() if len(shape) == 2)
    tokens = image + text
    projections = 2 * tokens * 4 * width * width
    feed_forward = 2 * tokens * 8 * width * width
    attention = 2 * 2 * tokens * tokens * width
    by_hand = 2 * (projections + feed_forward + attention)
    forward = usual.sampling / (8 * 3)
    # The last block ends without text; embeddings, modulations and adapters come in addition.
    assert 0.8 * by_hand < forward < 1.6 * by_hand


def test_equal_blocks_count_as_if_all_of_them_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of five blocks the last differs; two kinds are left to run, and four blocks are counted."""
    recipe, subject = recipe_of(), small_subject(num_layers=5)
    found = count_operations(recipe, subject, 1)
    monkeypatch.setattr(ModelCase, "numbered", True)
    assert found == count_operations(recipe, subject, 1)


def test_a_step_is_the_sum_of_its_parts() -> None:
    parts = StepOperations(1.0, 2.0, 4.0, 8.0)
    assert parts.step == 7.0
    assert replace(parts, gradients=0.0).step == 3.0
