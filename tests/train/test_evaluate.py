from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch

from marblecli.models.average import averaged_weights
from marblecli.train.evaluate import (
    Evaluation,
    changes,
    evaluate,
    evaluate_part,
    from_record,
    mean_over_valid,
)
from marblecli.train.loop import Progress, train_step
from marblecli.train.trainer import Trainer
from marblecli.types import EvaluationRecord, Prompt, RewardTable, Rollout

Opener = Callable[..., Trainer]


@pytest.mark.parametrize("split", ["train", "held-out"])
def test_the_base_model_has_no_change_against_itself(split: str, open_tiny: Opener) -> None:
    trainer = open_tiny()
    base, again = (evaluate(trainer.sampler, "reference", split) for _ in range(2))
    assert torch.equal(base.rollout.images, again.rollout.images)
    found = changes(base, again, seed=0)
    assert {change.reward for change in found} >= {"bright", "red"}
    for change in found:
        assert (change.start, change.win_rate) == (change.end, 0.5)
        assert change.no_interval == "no spread"


def test_untrained_adapters_change_nothing(open_tiny: Opener) -> None:
    trainer = open_tiny()
    for change in changes(
        evaluate(trainer.sampler, "reference", "train"),
        evaluate(trainer.sampler, "trained", "train"),
        seed=0,
    ):
        assert (change.end - change.start, change.no_interval) == (0.0, "no spread")


def test_images_are_counted_and_inapplicable_rewards_left_out(open_tiny: Opener) -> None:
    trainer = open_tiny()
    train, held_out = (
        evaluate(trainer.sampler, "reference", split) for split in ("train", "held-out")
    )
    # There are two prompts in each split; two images of a training prompt, one of a held-out one.
    assert train.rollout.images.shape == (4, 3, 16, 16)
    assert held_out.rollout.images.shape == (2, 3, 16, 16)
    images = {change.reward: change.images for change in changes(train, train, seed=0)}
    assert images == {"bright": 4, "red": 4, "contrast": 2}
    assert rewards_of(held_out) == {"bright", "red"}
    assert {change.reward for change in changes(held_out, held_out, seed=0)} == {"bright", "red"}


def test_a_reward_that_is_only_evaluated_is_scored_and_never_trained(
    open_tiny: Opener, recorded: Any
) -> None:
    """``red`` and ``contrast`` are loaded, and not among the recipe's trained rewards."""
    overrides = {"rewards": {"bright": {}}, "eval.rewards": {"red": {}, "contrast": {}}}
    trainer = open_tiny(overrides)
    train_step(trainer, recorded, Progress())
    assert set(recorded.metrics[-1]["rewards"]) == {"bright"}
    assert recorded.conflicts[-1].rewards == ("bright",)
    alone = open_tiny({"rewards": {"bright": {}}})
    train_step(alone, recorded, Progress())
    for one, other in zip(trainer.parameters(), alone.parameters(), strict=True):
        assert torch.equal(one, other)
    assert rewards_of(evaluate(trainer.sampler, "trained", "train")) == {
        "bright",
        "red",
        "contrast",
    }


def test_the_noise_is_the_same_at_every_step_and_the_reference_does_not_change(
    open_tiny: Opener, recorded: object
) -> None:
    trainer = open_tiny()
    before = {name: evaluated(trainer, name) for name in ("reference", "trained")}
    train_step(trainer, recorded, Progress())
    after = {name: evaluated(trainer, name) for name in ("reference", "trained")}
    assert torch.equal(after["reference"].rollout.images, before["reference"].rollout.images)
    assert not torch.equal(after["trained"].rollout.images, before["trained"].rollout.images)


def rewards_of(evaluation: Evaluation) -> set[str]:
    """The names of the rewards that scored some image."""
    scores = [image.scores for image in evaluation.images()]
    return {name for each in scores for name, value in each.items() if value is not None}


def evaluated(trainer: Trainer, name: Literal["reference", "trained"]) -> Evaluation:
    """Evaluate as the loop does on the training prompts: the trained policy by its average."""
    with averaged_weights(trainer.sampler.policies, trainer.average):
        return evaluate(trainer.sampler, name, "train")


def test_splits_places_and_seeds_have_noise_of_their_own(open_tiny: Opener) -> None:
    """The prompt is the same everywhere, so only the noise differs."""
    images = []
    for seed in (0, 1):
        trainer = open_tiny({"run.seed": seed})
        twice = (trainer.sampler.prompts.train[0][0],) * 2
        prompts = replace(trainer.sampler.prompts, evaluation={"train": twice, "held-out": twice})
        for split in ("train", "held-out"):
            images += evaluate(
                replace(trainer.sampler, prompts=prompts), "reference", split
            ).rollout.images
    # There are two seeds and two prompts; two images of a training prompt, one of a held-out one.
    assert len({image.numpy().tobytes() for image in images}) == len(images) == 2 * 2 * (2 + 1)


def test_the_trained_policy_is_judged_by_its_moving_average_and_keeps_its_weights(
    open_tiny: Opener, recorded: object
) -> None:
    trainer = open_tiny()
    progress, _ = train_step(trainer, recorded, Progress())
    # After one step, the average is that step's weights.
    train_step(trainer, recorded, progress)
    weights = [p.detach().clone() for p in trainer.sampler.policies.trained_parameters().values()]
    averaged = evaluated(trainer, "trained").rollout.images
    now = list(trainer.sampler.policies.trained_parameters().values())
    assert all(torch.equal(p, w) for p, w in zip(now, weights, strict=True))
    with torch.no_grad():
        for parameter, average in zip(now, trainer.average.tensors().values(), strict=True):
            parameter.copy_(average)
        for average, weight in zip(trainer.average.tensors().values(), weights, strict=True):
            average.copy_(weight)
    assert not torch.equal(evaluated(trainer, "trained").rollout.images, averaged)
    policies = trainer.sampler.policies
    trainer.average.load(policies.trained_parameters(), trainer.average.steps)
    assert torch.equal(evaluated(trainer, "trained").rollout.images, averaged)


def by_hand(split: str, values: list[float], valid: list[bool] | None = None) -> Evaluation:
    """An evaluation with one reward on two prompts, with two images of each."""
    prompts = tuple(Prompt(text, "plain") for text in "aabb")
    images = torch.zeros(4, 3, 8, 8)
    rollout = Rollout(prompts, np.array([0, 0, 1, 1]), torch.zeros(4, 1, 1, 1), images)
    mask = np.array(valid or [True] * 4)[:, None]
    return Evaluation(
        split, RewardTable(("ocr",), np.array(values)[:, None], mask), rollout, (0, 1)
    )


@pytest.mark.parametrize("split", ["train", "held-out"])
def test_the_change_is_paired_image_by_image(split: str) -> None:
    """Every image gains 0.25, though images differ: only the end value has a spread."""
    before, after = by_hand(split, [0.0, 4.0, 1.0, 9.0]), by_hand(split, [0.25, 4.25, 1.25, 9.25])
    (change,) = changes(before, after, seed=0)
    assert (change.reward, change.start, change.end, change.images) == ("ocr", 3.5, 3.75, 4)
    assert (change.no_interval, change.win_rate) == ("no spread", 1.0)
    assert change.end_low < 3.75 < change.end_high


def test_noise_is_resampled_on_training_prompts_and_prompts_on_held_out_ones() -> None:
    """Prompts gain 0 and 1 whatever the noise, so only the interval for new prompts is wide."""
    start, end = [0.0] * 4, [0.0, 0.0, 1.0, 1.0]
    (noise,) = changes(by_hand("train", start), by_hand("train", end), seed=0)
    assert (noise.end - noise.start, noise.no_interval) == (0.5, "no spread")
    (prompts,) = changes(by_hand("held-out", start), by_hand("held-out", end), seed=0)
    assert (prompts.low, prompts.high) == (0.0, 1.0)


def test_a_part_of_a_split_has_the_images_of_the_whole(open_tiny: Opener) -> None:
    sampler = open_tiny().sampler
    whole = evaluate(sampler, "reference", "train")
    part = evaluate_part(sampler, "reference", "train", [1])
    assert [image.place for image in part.images()] == [1, 1]
    assert torch.allclose(part.rollout.images, whole.rollout.images[2:], atol=1e-5)
    assert [image.prompt for image in part.images()] == [
        image.prompt for image in whole.images() if image.place == 1
    ]


def test_only_images_valid_in_both_count() -> None:
    before = by_hand("train", [1.0, 2.0, 0.0, 4.0], [True, True, False, True])
    after = by_hand("train", [2.0, 0.0, 3.0, 6.0], [True, False, True, True])
    (change,) = changes(before, after, seed=0)
    assert (change.start, change.end, change.images) == (2.5, 4.0, 2)
    nothing = by_hand("train", [0.0] * 4, [False] * 4)
    assert changes(before, nothing, seed=0) == ()


def test_means_leave_out_what_is_masked() -> None:
    evaluation = by_hand("train", [1.0, 5.0, 3.0, 0.0], [True, False, True, False])
    assert mean_over_valid(evaluation.table).tolist() == [2.0]
    empty = by_hand("train", [0.0] * 4, [False] * 4)
    assert np.isnan(mean_over_valid(empty.table)).all()


def test_a_recorded_evaluation_takes_the_place_of_the_one_that_was_made(
    open_tiny: Opener,
) -> None:
    sampler = open_tiny().sampler
    made = evaluate(sampler, "reference", "train")
    record = EvaluationRecord(0, "base", {"train": made.images()})
    prompts = sampler.prompts.evaluation["train"]
    found = from_record(record, "train", prompts)
    assert found is not None
    assert found.images() == made.images()
    assert changes(found, made, seed=0) == changes(made, made, seed=0)


def test_a_record_of_other_prompts_takes_no_place(open_tiny: Opener) -> None:
    sampler = open_tiny().sampler
    made = evaluate(sampler, "reference", "train")
    record = EvaluationRecord(0, "base", {"train": made.images()})
    first, second = sampler.prompts.evaluation["train"]
    assert from_record(record, "held-out", (first, second)) is None
    for others in ((second, first), (first,), (first, second, Prompt("a third", "scenes"))):
        assert from_record(record, "train", others) is None
