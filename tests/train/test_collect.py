from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from marblecli.train.collect import collect, loss_settings, training_batch
from marblecli.train.levels import BINS

Opener = Callable[..., Any]


def test_the_batch_of_a_step_is_made_of_its_images(open_tiny: Opener) -> None:
    trainer = open_tiny()
    collected = collect(trainer.sampler, 1)
    batch = training_batch(trainer.sampler, 1, collected)
    valid = collected.table.valid
    assert batch.latents.shape[0] == len(valid) == 6
    assert ((batch.shares > 0).numpy() == valid).all()
    np.testing.assert_allclose(batch.shares.sum(0).numpy(), 1.0, rtol=1e-6)
    assert (batch.advantages.numpy()[~valid] == 0).all()
    clip = trainer.sampler.recipe.training.advantage_clip
    expected = batch.advantages.clamp(-clip, clip) / (2 * clip) + 0.5
    torch.testing.assert_close(batch.optimality[batch.shares > 0], expected[batch.shares > 0])
    for group in range(2):
        here = collected.rollout.groups == group
        assert len(set(batch.halves.numpy()[here].flatten())) == 1
        np.testing.assert_allclose(batch.advantages.numpy()[here].sum(0), 0.0, atol=1e-5)


def test_the_same_step_is_collected_again_to_the_bit(open_tiny: Opener) -> None:
    trainer = open_tiny()
    one, other = collect(trainer.sampler, 3), collect(trainer.sampler, 3)
    assert torch.equal(one.rollout.latents, other.rollout.latents)
    assert one.rollout.prompts == other.rollout.prompts


def test_fresh_images_have_noise_of_their_own(open_tiny: Opener) -> None:
    trainer = open_tiny()
    fresh, trained = collect(trainer.sampler, 1, "fresh"), collect(trainer.sampler, 1)
    assert not torch.equal(fresh.rollout.latents, trained.rollout.latents)
    one, other = (
        training_batch(trainer.sampler, 1, fresh),
        training_batch(trainer.sampler, 1, trained),
    )
    rows = zip(one.rows(6), other.rows(6), strict=True)
    assert not any(torch.equal(a.noise, b.noise) for a, b in rows)


def test_slices_are_measured_when_they_are_due_and_not_on_fresh_images(open_tiny: Opener) -> None:
    trainer = open_tiny({"measure.slices_every": 2})
    assert not training_batch(trainer.sampler, 1, collect(trainer.sampler, 1)).slices
    assert training_batch(trainer.sampler, 2, collect(trainer.sampler, 2)).slices
    assert not training_batch(trainer.sampler, 2, collect(trainer.sampler, 2, "fresh")).slices


def test_the_constants_of_the_loss_are_the_recipes(open_tiny: Opener) -> None:
    trainer = open_tiny({"training.mix": 0.25, "training.micro_batch_size": 5})
    settings = loss_settings(trainer.sampler.recipe, trainer.sampler.micro_batch.size)
    assert (settings.mix, settings.micro_batch_size, settings.kl_weight) == (0.25, 5, 0.0)


def test_the_batch_has_the_levels_and_weights_that_the_recipe_asks_for(open_tiny: Opener) -> None:
    asked = {"draw": "logit-normal", "low": 0.3, "high": 0.9, "weighted": True}
    trainer = open_tiny({f"training.levels.{key}": value for key, value in asked.items()})
    batch = training_batch(trainer.sampler, 1, collect(trainer.sampler, 1))
    assert batch.levels.min() >= 0.3
    assert batch.levels.max() <= 0.9
    assert batch.weights is not None
    assert batch.weights.shape == batch.levels.shape
    assert batch.head(2).weights is not None


def test_a_batch_with_levels_by_signal_measures_their_bins(open_tiny: Opener) -> None:
    asked = {"training.levels.draw": "signal", "training.levels.low": 0.6, "training.kl_weight": 0}
    trainer = open_tiny({**asked, "measure.slices_every": 2})
    assert training_batch(trainer.sampler, 1, collect(trainer.sampler, 1)).bin_rows is None
    batch = training_batch(trainer.sampler, 2, collect(trainer.sampler, 2))
    assert batch.bin_rows is not None
    # The weights are 1 as long as nothing was measured.
    assert batch.bin_rows.sum() == batch.levels.numel()
    names = [name for name in batch.slices if name.startswith("noise")]
    assert (names[0], names[-1], len(names)) == ("noise 0.6-0.65", "noise 0.95-1.0", BINS)
    assert list(batch.slices)[-BINS:] == names
    rows = [int(batch.slices[name].sum()) for name in names]
    assert batch.bin_rows.tolist() == rows
