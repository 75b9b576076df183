from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from marblecli.errors import MarbleError
from marblecli.rewards import MovableScorer, Prompt, RewardBatch
from marblecli.rewards.host import RewardCatalog, discover
from marblecli.rewards.testing import CHECKS, Report, check_reward

DOG = {"class": "dog", "count": 1}


@pytest.fixture(scope="module")
def catalog() -> RewardCatalog:
    return discover()


@pytest.fixture(scope="module")
def tiny(detector_folder: Path, clip_folder: Path) -> dict[str, object]:
    """Options that name the tiny models."""
    return {"detector": str(detector_folder), "clip": str(clip_folder), "short_side": 64}


@pytest.fixture(scope="module")
def report(tiny: dict[str, object]) -> Report:
    # Random weights are sure of little.
    return check_reward("geneval", options={**tiny, "threshold": 0.02, "counting_threshold": 0.02})


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_the_contract(report: Report, check: str) -> None:
    report[check].raise_if_failed()


def test_the_published_models_are_declared_soundly(catalog: RewardCatalog) -> None:
    spec = catalog.get("geneval").spec
    assert [files.repo for files in spec.files(spec.options())] == [
        "facebook/mask2former-swin-small-coco-instance",
        "openai/clip-vit-large-patch14",
    ]


@pytest.mark.parametrize(
    ("metadata", "applies"),
    [
        ({"tag": "single_object", "include": [DOG]}, True),
        ({"include": [DOG]}, True),
        ({"include": []}, False),
        ({"tag": "counting"}, False),
        ({}, False),
    ],
)
def test_it_applies_where_objects_are_asked_for(
    catalog: RewardCatalog, metadata: dict[str, object], applies: bool
) -> None:
    assert catalog.get("geneval").spec.applies(Prompt("a dog", "any", metadata), None) is applies


@pytest.mark.parametrize("score", ["official", "clipped", "strict", "benchmark"])
def test_each_score_can_be_chosen(
    catalog: RewardCatalog, tiny: dict[str, object], score: str
) -> None:
    """Nothing is as sure as that, so that nothing is found: all scores are 0."""
    scorer = catalog.build("geneval", {**tiny, "score": score, "threshold": 0.999}, "cpu")
    images = np.zeros((2, 32, 32, 3), dtype=np.uint8)
    batch = RewardBatch(images, ["", ""], [{"include": [DOG]}] * 2)
    assert np.asarray(scorer(batch)).tolist() == [0.0, 0.0]
    assert isinstance(scorer, MovableScorer)


def test_wrong_options_are_named(catalog: RewardCatalog) -> None:
    problems = catalog.check_options(
        "geneval", {"score": "soft", "threshold": 1, "short_side": 8, "nms": 0.5}
    )
    assert [problem.key.rpartition(".")[2] for problem in problems] == [
        "score",
        "short_side",
        "threshold",
        "nms",
    ]


def test_a_folder_without_weights_fails_to_load_in_a_line(
    catalog: RewardCatalog, tiny: dict[str, object], tmp_path: Path
) -> None:
    with pytest.raises(MarbleError, match="'geneval' failed to load") as caught:
        catalog.build("geneval", {**tiny, "detector": str(tmp_path)}, "cpu")
    assert "\n" not in str(caught.value)
