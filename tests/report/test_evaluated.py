from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from marblecli.errors import BadInputError
from marblecli.report.evaluated import changes_between, changes_by_step, spread
from marblecli.train.evaluate import Evaluation, changes
from marblecli.types import EvaluationRecord, Prompt, RewardTable, Rollout, ScoredImage
from support.run_data import SHIFTS, evaluation, evaluations


def test_changes_are_those_that_were_put_in() -> None:
    by_step = changes_by_step(evaluations())
    assert list(by_step) == [5, 10]
    for change in by_step[10]["held-out"]:
        assert change.end - change.start == pytest.approx(SHIFTS[change.reward], abs=0.02)
    signs = {c.reward: (c.low > 0.0, c.high < 0.0) for c in by_step[10]["held-out"]}
    assert signs["ocr"] == (True, False)
    assert signs["aesthetic"] == (False, True)


def test_intervals_are_those_that_training_shows() -> None:
    """Of the same scores, training's own function gives the same numbers."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(2, 6, 2))
    valid = np.ones((6, 2), dtype=bool)
    valid[4:, 1] = False
    prompts = tuple(Prompt(f"p{index // 2}", "s") for index in range(6))
    groups = np.repeat(np.arange(3), 2)

    def side(values: np.ndarray, split: str) -> Evaluation:
        rollout = Rollout(prompts, groups, torch.empty(0), torch.empty(0))
        return Evaluation(split, RewardTable(("a", "b"), values, valid), rollout, (0, 1, 2))

    for split in ("train", "held-out"):
        before, after = (side(values, split) for values in scores)
        records = [
            EvaluationRecord(step, "trained" if step else "base", {split: each.images()}, seed=3)
            for step, each in enumerate((before, after))
        ]
        theirs, mine = changes(before, after, 3), changes_between(*records)[split]
        for one, other in zip(theirs, mine, strict=True):
            assert (one.reward, one.low, one.high, one.images) == (
                other.reward,
                other.low,
                other.high,
                other.images,
            )


def test_without_images_there_are_means_and_no_intervals() -> None:
    first, second = (
        EvaluationRecord(step, subject, {}, known_means={"held-out": {"ocr": mean}})
        for step, subject, mean in ((0, "base", 0.5), (5, "trained", 0.75))
    )
    (change,) = changes_between(first, second)["held-out"]
    assert (change.start, change.end, change.images) == (0.5, 0.75, 0)
    assert math.isnan(change.low)
    assert math.isnan(change.high)


def test_where_nothing_can_be_resampled_there_is_no_interval() -> None:
    """One prompt tells nothing of others; one image a prompt tells nothing of other noise."""

    def only(record: EvaluationRecord, split: str, keep: str) -> EvaluationRecord:
        images = [each for each in record.images[split] if getattr(each, keep) == 0]
        return replace(record, images={split: tuple(images)})

    base, now = evaluation(0, SHIFTS), evaluation(5, SHIFTS)
    for split, keep in (("held-out", "place"), ("train", "number")):
        for change in changes_between(only(base, split, keep), only(now, split, keep))[split]:
            assert math.isnan(change.low)
            assert change.images > 0


def test_a_reward_that_scored_no_image_is_left_out() -> None:
    image = ScoredImage("p", "s", 0, 0, {"ocr": None, "aes": 0.5})
    record = EvaluationRecord(0, "base", {"train": (image, replace(image, number=1))})
    found = changes_between(record, record)["train"]
    assert [change.reward for change in found] == ["aes"]


def test_nothing_is_known_without_the_base_model() -> None:
    assert changes_by_step(evaluations()[1:]) == {}
    assert changes_by_step([]) == {}


def test_different_seeds_arent_compared() -> None:
    with pytest.raises(BadInputError, match="different noise"):
        changes_between(evaluation(0, SHIFTS), evaluation(5, SHIFTS, seed=1))


def test_many_evaluations_are_thinned_and_the_last_is_kept() -> None:
    found = changes_by_step(evaluations(range(100)), most=10)
    assert len(found) == 10
    assert (min(found), max(found)) == (1, 99)


def test_spread_worked_by_hand() -> None:
    assert spread([1, 2, 3], 3) == [1, 2, 3]
    assert spread(list(range(11)), 3) == [0, 5, 10]
