from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from marblecli.rewards.kit.samples import make_samples
from marblecli.rewards.kit.trial import Limits, Trial, as_scores, call, differences, make_batch
from marblecli.rewards.spec import RewardBatch, RewardSpec
from marblecli.types import Prompt

SAMPLES = make_samples((Prompt("a", "s", {"text": "A", "secret": 1}), Prompt("b", "s")), 4, 8, 16)


def test_a_batch_is_what_a_run_gives_to_a_scorer() -> None:
    spec = RewardSpec("r", "", print, images="pil", metadata=("text",))  # type: ignore[arg-type]
    reads: set[str] = set()
    batch = make_batch(spec, SAMPLES, [2, 1], reads)
    assert [image.size for image in batch.images] == [(16, 8)] * 2
    assert isinstance(batch.images[0], Image.Image)
    assert list(batch.prompts) == ["a", "b"]
    assert [dict(fields) for fields in batch.metadata] == [{"text": "A"}, {}]
    batch.metadata[0].get("secret")
    assert "secret" in reads


def test_a_call_runs_without_gradients() -> None:
    assert call(lambda batch: [float(torch.is_grad_enabled())], SAMPLES) == [0.0]  # type: ignore[arg-type]
    assert torch.is_grad_enabled()


def test_a_trial_scores_rows_in_their_order() -> None:
    def mean(batch: RewardBatch) -> Any:
        return batch.images.mean((1, 2, 3))

    spec = RewardSpec("r", "", print, images="float")  # type: ignore[arg-type]
    trial = Trial(spec, mean, SAMPLES, 1e-4, True, Limits(), SAMPLES.images.mean((1, 2, 3)))
    assert trial.rows() == [0, 1, 2, 3]
    np.testing.assert_array_equal(trial.score([3, 1]), trial.scores[[3, 1]])


@pytest.mark.parametrize("given", [[1, 2], (1.0, 2.0), np.array([1, 2]), torch.tensor([1.0, 2.0])])
def test_a_scorer_may_return_numbers_in_many_forms(given: Any) -> None:
    scores = as_scores(given)
    assert scores.dtype == np.float64
    assert scores.tolist() == [1.0, 2.0]


def test_a_mask_is_kept() -> None:
    assert as_scores(np.ma.array([1.0, 2.0], mask=[True, False])).tolist() == [None, 2.0]


def test_differences_are_relative_for_large_values_only() -> None:
    one, two = as_scores([0.5, -100.0, np.nan, np.inf]), as_scores([0.6, -101.0, np.nan, np.inf])
    np.testing.assert_allclose(differences(one, two), [0.1, 0.01, 0.0, 0.0])


@pytest.mark.parametrize("other", [np.nan, np.inf, -np.inf])
def test_a_number_and_none_are_infinitely_apart(other: float) -> None:
    assert differences(as_scores([1.0]), as_scores([other])).tolist() == [np.inf]
    assert differences(as_scores([other]), as_scores([1.0])).tolist() == [np.inf]


def test_masked_values_are_alike_and_unlike_numbers() -> None:
    masked = np.ma.array([1.0], mask=True)
    assert differences(masked, np.ma.array([2.0], mask=True)).tolist() == [0.0]
    assert differences(masked, as_scores([1.0])).tolist() == [np.inf]


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="expected 2 values"):
        differences(as_scores([1.0, 2.0]), as_scores([1.0]))
