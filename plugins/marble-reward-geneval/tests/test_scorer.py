"""The scorer on hand-made detections, and on tiny models with random weights."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from marble_reward_geneval.colours import ColourClassifier
from marble_reward_geneval.detector import Detector
from marble_reward_geneval.instances import Instance
from marble_reward_geneval.rules import SCORES, Box
from marble_reward_geneval.scorer import GenEvalScorer, Rules
from marble_reward_geneval.vocabulary import CLASSES
from marblecli.rewards import RewardBatch

DOG: dict[str, Any] = {"class": "dog", "count": 1}
CAT: dict[str, Any] = {"class": "cat", "count": 1}
PAINT = {"red": (255, 0, 0), "blue": (0, 0, 255)}


class HandMade(Detector):
    """Finds in each image what it is told, above the threshold and of the classes wanted."""

    def __init__(self, *found: dict[str, list[tuple[float, Box]]]) -> None:
        self.found = found
        self.thresholds: Sequence[float] = ()
        self.device = "cpu"

    def to(self, device: str) -> None:
        self.device = device

    def detect(
        self,
        images: np.ndarray,
        thresholds: Sequence[float],
        classes: Sequence[Collection[str]],
    ) -> list[dict[str, list[Instance]]]:
        self.thresholds = thresholds
        return [
            {
                name: self._above(one[name], least, images.shape[1:3])
                for name in one
                if name in names
            }
            for one, least, names in zip(self.found, thresholds, classes, strict=True)
        ]

    def _above(
        self, found: list[tuple[float, Box]], least: float, size: tuple[int, ...]
    ) -> list[Instance]:
        return [
            Instance(0, score, box, _filled(box, size)) for score, box in found if score > least
        ]


class ByPaint(ColourClassifier):
    """Knows colours by the mean of a cutting that is of one colour."""

    def __init__(self) -> None:
        self.names: list[Sequence[str]] = []
        self.device = "cpu"

    def to(self, device: str) -> None:
        self.device = device

    def classify(self, cuttings: Sequence[np.ndarray], names: Sequence[str]) -> list[str]:
        self.names.append(list(names))
        known = {paint: colour for colour, paint in PAINT.items()}
        return [known[tuple(int(v) for v in cutting[0, 0])] for cutting in cuttings]


def _filled(box: Box, size: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    left, top, right, bottom = (int(side) for side in box)
    mask[top:bottom, left:right] = True
    return mask


def rules(score: str = "official", threshold: float = 0.3, counting: float = 0.9) -> Rules:
    return Rules(SCORES[score], threshold, counting, 0.1)


def painted(*boxes: tuple[Box, str]) -> np.ndarray:
    image = np.zeros((100, 100, 3), dtype=np.uint8)
    for box, colour in boxes:
        image[_filled(box, (100, 100))] = PAINT[colour]
    return image


def batch_of(images: list[np.ndarray], metadata: list[dict[str, Any]]) -> RewardBatch:
    return RewardBatch(np.stack(images), ["a photo"] * len(images), metadata)


LEFT, RIGHT = (0.0, 40.0, 20.0, 60.0), (80.0, 40.0, 100.0, 60.0)
NOTHING = np.zeros((100, 100, 3), dtype=np.uint8)


def test_counting_needs_more_confidence() -> None:
    found = {"dog": [(0.95, LEFT), (0.6, RIGHT)]}
    detector = HandMade(found, found, found)
    two = {"class": "dog", "count": 2}
    scores = GenEvalScorer(detector, ByPaint(), rules("strict"))(
        batch_of(
            [NOTHING] * 3,
            [
                {"tag": "counting", "include": [two]},
                {"tag": "two_object", "include": [two]},
                {"include": [two]},
            ],
        )
    )
    assert list(detector.thresholds) == [0.9, 0.3, 0.3]
    assert scores.tolist() == [0.0, 1.0, 1.0]


def test_no_more_than_sixteen_of_a_class_are_seen() -> None:
    detector = HandMade({"dog": [(0.9, LEFT)] * 40})
    score = GenEvalScorer(detector, ByPaint(), rules())(batch_of([NOTHING], [{"include": [DOG]}]))
    assert score.tolist() == [-14.0]


@pytest.mark.parametrize(
    ("colours", "official"),
    [(("red", "blue"), 1.0), (("blue", "red"), 0.5), (("red", "red"), 0.75)],
)
def test_colours_are_those_of_the_objects(colours: tuple[str, str], official: float) -> None:
    image = painted((LEFT, colours[0]), (RIGHT, colours[1]))
    detector, by_paint = HandMade({"dog": [(0.9, LEFT)], "cat": [(0.8, RIGHT)]}), ByPaint()
    include = [{**DOG, "color": "red"}, {**CAT, "color": "blue"}]
    score = GenEvalScorer(detector, by_paint, rules())(batch_of([image], [{"include": include}]))
    assert score.tolist() == [official]
    assert by_paint.names == [["dog", "cat"]]


def test_colours_of_a_batch_are_named_in_one_call_and_only_where_they_matter() -> None:
    red = painted((LEFT, "red"), (RIGHT, "red"))
    found = {"dog": [(0.9, LEFT), (0.8, RIGHT)], "cat": [(0.7, RIGHT)]}
    detector, by_paint = HandMade(found, found, {}, found), ByPaint()
    red_dog = {"include": [{**DOG, "color": "red"}]}
    scores = GenEvalScorer(detector, by_paint, rules("benchmark"))(
        batch_of(
            [red] * 4,
            [red_dog, {"include": [CAT]}, red_dog, {"include": [{**CAT, "color": "blue"}]}],
        )
    )
    assert by_paint.names == [["dog", "cat"]]
    assert scores.tolist() == [1.0, 1.0, 0.0, 0.0]


def test_the_colour_of_one_object_is_named_once() -> None:
    by_paint = ByPaint()
    include = [{**DOG, "color": "red"}, {**DOG, "color": "blue"}]
    GenEvalScorer(HandMade({"dog": [(0.9, LEFT)]}), by_paint, rules())(
        batch_of([painted((LEFT, "red"))], [{"include": include}])
    )
    assert by_paint.names == [["dog"]]


def test_positions_are_those_of_the_boxes() -> None:
    include = [DOG, {**CAT, "position": ["left of", 0]}]
    detector = HandMade(
        {"dog": [(0.9, RIGHT)], "cat": [(0.9, LEFT)]}, {"dog": [(0.9, LEFT)], "cat": [(0.9, RIGHT)]}
    )
    scores = GenEvalScorer(detector, ByPaint(), rules())(
        batch_of([NOTHING] * 2, [{"include": include}] * 2)
    )
    assert scores.tolist() == [1.0, 0.75]


def test_foreign_metadata_are_named() -> None:
    scorer = GenEvalScorer(HandMade({}), ByPaint(), rules())
    with pytest.raises(ValueError, match="unknown class 'unicorn'"):
        scorer(batch_of([NOTHING], [{"include": [{"class": "unicorn", "count": 1}]}]))


def test_both_models_move() -> None:
    detector, by_paint = HandMade(), ByPaint()
    GenEvalScorer(detector, by_paint, rules()).to("meta")
    assert (detector.device, by_paint.device) == ("meta", "meta")


# On tiny models.


@pytest.fixture(scope="module")
def scorer(detector_folder: Path, clip_folder: Path) -> GenEvalScorer:
    detector = Detector(detector_folder, torch.float32, short_side=64)
    return GenEvalScorer(
        detector, ColourClassifier(clip_folder, torch.float32), rules(threshold=0.1, counting=0.2)
    )


@pytest.fixture
def requests(scorer: GenEvalScorer, images: np.ndarray) -> list[dict[str, Any]]:
    """What is there, as the tiny models see it, and what isn't."""
    found = scorer._detector.detect(images, [0.1] * len(images), [CLASSES] * len(images))
    there, absent = list(found[0]), next(name for name in CLASSES if name not in found[3])
    return [
        {"include": [{"class": there[0], "count": len(found[0][there[0]]), "color": "red"}]},
        {"include": [{"class": name, "count": 1, "color": "blue"} for name in list(found[1])[:2]]},
        {
            "tag": "counting",
            "include": [{"class": next(iter(found[2])), "count": 2}],
        },
        {"include": [{"class": absent, "count": 1}]},
    ]


def test_scores_are_of_one_shape_and_range(
    scorer: GenEvalScorer, images: np.ndarray, requests: list[dict[str, Any]]
) -> None:
    scores = scorer(batch_of(list(images), requests))
    assert scores.shape == (4,)
    assert scores.dtype == np.float64
    assert ((scores >= -14) & (scores <= 1)).all()
    assert scores[0] >= 0.5
    assert scores[3] == 0


def test_order_batching_and_modes_change_nothing(
    scorer: GenEvalScorer, images: np.ndarray, requests: list[dict[str, Any]]
) -> None:
    whole = scorer(batch_of(list(images), requests)).tolist()
    assert scorer(batch_of(list(images[::-1]), requests[::-1])).tolist() == whole[::-1]
    alone = [scorer(batch_of([i], [r])).item() for i, r in zip(images, requests, strict=True)]
    assert alone == whole
    with torch.enable_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert scorer(batch_of(list(images), requests)).tolist() == whole


def test_images_are_left_as_they_were(
    scorer: GenEvalScorer, images: np.ndarray, requests: list[dict[str, Any]]
) -> None:
    kept = images.copy()
    scorer(RewardBatch(images, [""] * 4, requests))
    assert np.array_equal(images, kept)
