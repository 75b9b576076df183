from __future__ import annotations

import dataclasses

import pytest

from marblecli.pictures.choice import Compared, compare, deviations, evenly, extremes
from marblecli.types import EvaluationRecord, ScoredImage
from support.pictures import evaluation

PROMPTS = {"train": [("a", "one"), ("b", "one"), ("c", "one"), ("d", "two"), ("e", "two")]}


def record(step: int, scores: dict[str, float | None] | None = None) -> EvaluationRecord:
    return evaluation(step, PROMPTS, 2, lambda *_: scores or {"x": 0.0})


@pytest.mark.parametrize(
    ("count", "wanted"),
    [(2, [(0, 0), (3, 0)]), (3, [(0, 0), (1, 0), (3, 0)]), (9, [(p, 0) for p in range(5)])],
)
def test_the_first_prompts_of_all_sources_are_taken_in_turn(
    count: int, wanted: list[tuple[int, int]]
) -> None:
    images = record(0).images["train"]
    chosen = [images[index] for index in evenly(images, count)]
    assert [(image.place, image.number) for image in chosen] == wanted


def test_no_score_changes_what_is_chosen() -> None:
    low, high = record(0, {"x": -9.0}).images["train"], record(0, {"x": 9.0}).images["train"]
    assert evenly(low, 3) == evenly(high, 3)


def image(place: int, number: int, **scores: float | None) -> ScoredImage:
    return ScoredImage("abcde"[place], "s", place, number, scores)


def pair(base: list[ScoredImage], now: list[ScoredImage]) -> tuple[Compared, ...]:
    records = (
        EvaluationRecord(0, "base", {"train": tuple(base)}),
        EvaluationRecord(5, "trained", {"train": tuple(now)}),
    )
    return compare(*records)["train"]


def test_a_change_is_the_mean_over_rewards_in_standard_deviations() -> None:
    base = [image(0, 0, x=0.0, y=10.0), image(0, 1, x=2.0, y=50.0)]
    now = [image(0, 0, x=0.5, y=0.0), image(0, 1, x=2.0, y=90.0)]
    assert deviations(EvaluationRecord(0, "base", {"train": tuple(base)})) == {"x": 1.0, "y": 20.0}
    first, second = pair(base, now)
    assert first.change == pytest.approx((0.5 - 0.5) / 2)
    assert second.change == pytest.approx((0.0 + 2.0) / 2)


def test_rewards_that_do_not_apply_or_never_differ_do_not_count() -> None:
    base = [image(0, 0, x=0.0, y=None, z=3.0), image(0, 1, x=2.0, y=1.0, z=3.0)]
    now = [image(0, 0, x=1.0, y=7.0, z=9.0), image(0, 1, x=None, y=1.0, z=3.0)]
    assert [each.change for each in pair(base, now)] == [1.0, None]


def test_images_are_paired_by_prompt_and_noise_not_by_order() -> None:
    base = [image(0, 0, x=0.0), image(1, 0, x=2.0)]
    (only,) = pair(base, [image(1, 0, x=3.0), image(2, 0, x=9.0)])
    assert (only.image.place, only.index, only.base) == (1, 0, {"x": 2.0})


def changed(place: int, number: int, change: float | None) -> Compared:
    return Compared("train", place, image(place, number), {}, change)


def test_the_extremes_have_one_image_of_a_prompt_and_the_counts_have_all() -> None:
    changes = {(0, 0): 1.0, (0, 1): 3.0, (1, 0): 2.0, (2, 0): -1.0, (2, 1): -4.0, (3, 0): 0.0}
    images = [changed(*key, change) for key, change in changes.items()] + [changed(4, 0, None)]
    found = extremes(images, 4)
    assert [each.change for each in found.better] == [3.0, 2.0]
    assert [each.change for each in found.worse] == [-4.0]
    assert (found.better_count, found.worse_count, found.total) == (3, 2, 6)


def test_the_same_text_in_two_splits_is_two_prompts() -> None:
    one = changed(0, 0, 1.0)
    found = extremes([one, dataclasses.replace(one, split="held-out")], 4)
    assert len(found.better) == 2
