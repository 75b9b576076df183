from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from marblecli.maths.nft import interpolate
from marblecli.seeding import torch_stream
from marblecli.train.distance import distance_from_base
from marblecli.train.evaluate import evaluate, evaluate_part, to_record
from marblecli.train.trainer import Trainer
from marblecli.types import Rollout

Opener = Callable[..., Trainer]


def shift(trainer: Trainer, size: float) -> None:
    with torch.no_grad():
        for parameter in trainer.parameters():
            parameter.add_(size)


def test_the_base_model_is_no_distance_from_itself(open_tiny: Opener) -> None:
    trainer = open_tiny()
    assert evaluate(trainer.sampler, "trained", "held-out").distance == 0.0
    assert evaluate(trainer.sampler, "reference", "held-out").distance is None


def test_it_is_the_mean_over_images_whatever_the_batch(open_tiny: Opener) -> None:
    """Recomputed for two images, at levels of a quarter and three quarters in some order."""
    trainer = open_tiny()
    shift(trainer, 0.05)
    sampler = trainer.sampler
    rollout = evaluate(sampler, "trained", "held-out").rollout
    found = distance_from_base(sampler, rollout)
    assert found is not None
    assert found > 0.0
    one = open_tiny({"sampling.batch_size": 1})
    shift(one, 0.05)
    assert distance_from_base(one.sampler, rollout) == pytest.approx(found, rel=1e-4)

    def at(levels: list[float], noise: torch.Tensor) -> float:
        level = torch.tensor(levels)
        inputs = (
            interpolate(rollout.latents, noise, level),
            level,
            sampler.backbone.conditioning([prompt.text for prompt in rollout.prompts]),
        )
        with torch.no_grad():
            reference = sampler.policies.velocity("reference", *inputs)
            difference = sampler.policies.velocity("trained", *inputs) - reference
        return float(difference.square().mean())

    noise = torch.randn(rollout.latents.shape, generator=torch_stream(0, "distance", 0))
    tried = [at([0.25, 0.75], noise), at([0.75, 0.25], noise)]
    assert min(abs(found / each - 1.0) for each in tried) < 1e-4


def test_a_larger_step_is_farther(open_tiny: Opener) -> None:
    distances = []
    for size in (0.02, 0.05):
        trainer = open_tiny()
        shift(trainer, size)
        distances.append(evaluate(trainer.sampler, "trained", "train").distance)
    assert distances[0] < distances[1]


def test_a_part_isnt_measured_and_no_image_has_no_distance(open_tiny: Opener) -> None:
    sampler = open_tiny().sampler
    part = evaluate_part(sampler, "trained", "train", [0])
    assert part.distance is None
    rollout = part.rollout
    nothing = Rollout((), rollout.groups[:0], rollout.latents[:0], rollout.images[:0])
    assert distance_from_base(sampler, nothing) is None


def test_a_record_has_the_distances_that_are_known(open_tiny: Opener) -> None:
    sampler = open_tiny().sampler
    found = {split: evaluate(sampler, "trained", split) for split in ("train", "held-out")}
    record = to_record(3, "trained", found, seed=0, seconds=1.2345)
    assert record.distances == {"train": 0.0, "held-out": 0.0}
    assert record.seconds == 1.234
    base = {"train": evaluate(sampler, "reference", "train")}
    assert to_record(0, "base", base, seed=0, seconds=1.0).distances == {}
