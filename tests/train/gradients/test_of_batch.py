"""Gradients are computed in the way that the recipe asks for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from marblecli.train.collect import collect, training_batch
from marblecli.train.gradients.of_batch import batch_gradients, judging_gradients
from marblecli.train.gradients.reward_gradients import PARTS, WHOLE, RewardGradients
from marblecli.train.trainer import Trainer

Opener = Callable[..., Trainer]
WAYS: dict[str, dict[str, object]] = {
    "contracted": {},
    "backward": {"training.gradients": "backward"},
    "no parts": {"measure.parts": False, "measure.slices_every": 1},
}


def flat(found: RewardGradients) -> torch.Tensor:
    return torch.cat([part.flatten() for part in (*found.whole(), *found.penalty)])


@pytest.fixture(scope="module")
def found(open_tiny: Opener) -> dict[str, RewardGradients]:
    gradients = {}
    for name, overrides in WAYS.items():
        trainer = open_tiny({"training.kl_weight": 0.1, **overrides})
        batch = training_batch(trainer.sampler, 1, collect(trainer.sampler, 1))
        gradients[name] = batch_gradients(trainer.sampler, batch)
    return gradients


def test_all_ways_give_the_same_gradients(found: dict[str, RewardGradients]) -> None:
    expected = flat(found["backward"])
    for gradients in found.values():
        torch.testing.assert_close(flat(gradients), expected, rtol=1e-3, atol=1e-6)


def test_parts_and_slices_are_kept_if_the_recipe_asks_for_them(
    found: dict[str, RewardGradients],
) -> None:
    parts = {name: gradients.parts for name, gradients in found.items()}
    assert parts == {"contracted": PARTS, "backward": WHOLE, "no parts": WHOLE}
    assert not found["no parts"].slices


@pytest.mark.parametrize("overrides", [{}, {"training.gradients": "backward"}])
def test_fresh_images_are_measured_in_parts_with_the_pull_on_all_micro_batches(
    overrides: dict[str, object], open_tiny: Opener
) -> None:
    trainer = open_tiny({"training.pull_share": 0.5, "training.micro_batch_size": 3, **overrides})
    trainer.sampler.policies.blend_old(0.5)
    with torch.no_grad():
        for parameter in trainer.sampler.policies.trained_parameters().values():
            parameter.add_(0.05)
    batch = training_batch(trainer.sampler, 1, collect(trainer.sampler, 1, "fresh"))
    fresh = judging_gradients(trainer.sampler, batch)
    assert fresh.parts == PARTS
    whole = open_tiny({"training.gradients": "backward"})
    policies = trainer.sampler.policies
    whole.sampler.policies.load(policies.trained_parameters(), policies.old_parameters())
    torch.testing.assert_close(
        flat(fresh), flat(batch_gradients(whole.sampler, batch)), rtol=1e-3, atol=1e-6
    )
