from __future__ import annotations

import pytest

from marblecli.maths.passes import ImagePasses, row_passes, step_passes
from marblecli.settings import Recipe


def recipe(mode: str = "lora", **training: object) -> Recipe:
    return Recipe.model_validate(
        {
            "run": {"name": "x"},
            "model": {"pretrained": "x", "mode": mode},
            "prompts": {"all": {"train": "x"}},
            "rewards": {"ocr": {}, "pickscore": {}},
            "sampling": {"steps": 8},
            "training": {"steps": 1, "noise_levels": 4, **training},
        }
    )


def test_sampling_and_rows_add_up() -> None:
    passes = ImagePasses(8, 4, 3.5)
    assert (passes.training, passes.total) == (14.0, 22.0)


def test_the_published_step_worked_by_hand() -> None:
    """Three forward passes and a backward pass a row."""
    assert ImagePasses(25, 24, row_passes(1.0, 1.0, 1.0)).total == pytest.approx(25 + 24 * 4.12)


def test_the_pull_and_the_regulariser_run_on_a_share_of_the_rows() -> None:
    """Old and trained policy, the reference on a quarter; 1 + 2 / 4 backward passes."""
    assert step_passes(recipe(pull_share=0.25)).row == pytest.approx(2.25 + 1.12 * 1.5)


def test_without_a_regulariser_no_reference_runs() -> None:
    assert step_passes(recipe(pull_share=0.25, kl_weight=0.0)).row == pytest.approx(2 + 1.12 * 1.25)


def test_in_the_first_step_the_old_policy_is_the_trained_one() -> None:
    assert step_passes(recipe(), on_policy=True).row == pytest.approx(2 + 1.12 * 2)


def test_a_backward_pass_to_all_weights_is_worth_two() -> None:
    assert step_passes(recipe("full", kl_weight=0.0)).row == pytest.approx(2 + 2.0 * 2)


def test_a_backward_pass_for_each_reward() -> None:
    assert step_passes(recipe(gradients="backward")).row == pytest.approx(3 + 1.12 * 3)
