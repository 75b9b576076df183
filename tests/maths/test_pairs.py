from __future__ import annotations

from dataclasses import replace

import pytest

from marblecli.errors import BadInputError
from marblecli.maths.pairs import pair_images
from marblecli.types import EvaluationRecord, ScoredImage


def image(place: int, number: int, score: float | None, prompt: str = "") -> ScoredImage:
    return ScoredImage(prompt or f"prompt {place}", "plain", place, number, {"ocr": score})


def record(*images: ScoredImage, split: str = "train") -> EvaluationRecord:
    return EvaluationRecord(4, "trained", {split: images}, seed=0)


def test_images_of_the_same_prompt_place_and_number_are_pairs() -> None:
    first = record(image(0, 0, 0.1), image(0, 1, 0.2), image(1, 0, None))
    second = record(image(1, 0, 0.6), image(0, 1, 0.5), image(0, 0, 0.4))
    pairs = pair_images(first, second)["train"]
    assert [(pair.prompt, pair.place, pair.number) for pair in pairs] == [
        ("prompt 0", 0, 0),
        ("prompt 0", 0, 1),
        ("prompt 1", 1, 0),
    ]
    scores = [(pair.first["ocr"], pair.second["ocr"]) for pair in pairs]
    assert scores == [(0.1, 0.4), (0.2, 0.5), (None, 0.6)]


def test_pairing_turned_round_turns_the_pairs_round() -> None:
    first = record(image(0, 0, 0.1), image(1, 0, 0.2))
    second = record(image(1, 0, 0.4), image(0, 0, 0.3))
    there = {
        (p.place, p.first["ocr"], p.second["ocr"]) for p in pair_images(first, second)["train"]
    }
    back = {(p.place, p.second["ocr"], p.first["ocr"]) for p in pair_images(second, first)["train"]}
    assert there == back == {(0, 0.1, 0.3), (1, 0.2, 0.4)}


def test_what_only_one_has_is_left_out() -> None:
    first = record(image(0, 0, 0.1), image(0, 1, 0.2))
    second = record(image(0, 0, 0.3), image(1, 0, 0.4))
    (pair,) = pair_images(first, second)["train"]
    assert (pair.place, pair.number) == (0, 0)
    assert pair_images(first, record(image(0, 0, 0.3), split="held-out")) == {}


def test_another_prompt_at_the_same_place_is_no_pair() -> None:
    assert pair_images(record(image(0, 0, 0.1)), record(image(0, 0, 0.1, "other"))) == {"train": ()}


def test_other_seeds_start_from_other_noise_and_are_refused() -> None:
    one = record(image(0, 0, 0.1))
    with pytest.raises(BadInputError, match=r"the seeds 0 and 1: .*run\.seed"):
        pair_images(one, replace(one, seed=1))
    assert len(pair_images(one, replace(one, seed=None))["train"]) == 1
