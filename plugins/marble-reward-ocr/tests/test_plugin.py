from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from marble_reward_ocr.golden import Drawing
from marblecli.rewards import Prompt, RewardBatch
from marblecli.rewards.host import RewardCatalog, discover
from marblecli.rewards.testing import CHECKS, Report, Samples, check_reward


@pytest.fixture(scope="module")
def catalog() -> RewardCatalog:
    return discover()


@pytest.fixture(scope="module")
def report(catalog: RewardCatalog) -> Report:
    drawn = [Drawing((text,), side=64).draw() for text in ("OPEN", "Happy", "Exit", "OPEN")]
    images = torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).float() / 255
    prompts = catalog.get("ocr").spec.examples
    samples = Samples(images, (*prompts, prompts[0]))
    # Small images, read as they are, are quick.
    return check_reward("ocr", options={"min_side": 0}, samples=samples)


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_the_contract(report: Report, check: str) -> None:
    report[check].raise_if_failed()


def test_it_is_found_as_a_strangers_package_is(catalog: RewardCatalog) -> None:
    installed = catalog.get("ocr")
    assert installed.distribution == "marble-reward-ocr"
    assert installed.spec.range == (0.0, 1.0)
    assert not [f for f in catalog.failures if f.distribution == "marble-reward-ocr"]


@pytest.mark.parametrize(
    ("prompt", "applies"),
    [
        (Prompt('a sign "Open"', "ocr"), True),
        (Prompt("a sign \u201cOpen\u201d", "drawbench"), True),
        (Prompt("a sign", "ocr", {"target_text": "Open"}), True),
        (Prompt("a cat", "ocr"), False),
        (Prompt('a sign ""', "ocr"), False),
    ],
)
def test_it_applies_where_text_is_asked_for(
    catalog: RewardCatalog, prompt: Prompt, applies: bool
) -> None:
    assert catalog.get("ocr").spec.applies(prompt, None) is applies


def test_options_reach_the_scorer(catalog: RewardCatalog) -> None:
    images = np.repeat(Drawing(("OPEN !",), side=128).draw()[None], 2, axis=0)
    batch = RewardBatch(images, ['"open"', '"oven"'], [{}, {}])
    scores = [
        np.asarray(catalog.build("ocr", options, "cpu")(batch)).tolist()
        for options in ({}, {"score": "exact"}, {"score": "whole", "min_side": 512})
    ]
    assert scores == [[1.0, 0.5], [1.0, 0.0], [0.75, 0.5]]


def test_wrong_options_are_named(catalog: RewardCatalog) -> None:
    problems = catalog.check_options("ocr", {"score": "soft", "box_threshold": 2, "threads": 1})
    assert [problem.key for problem in problems] == [
        "rewards.ocr.score",
        "rewards.ocr.box_threshold",
        "rewards.ocr.threads",
    ]


def test_registering_imports_no_engine() -> None:
    code = "import sys, marble_reward_ocr.plugin;"
    code += "sys.exit(any(n in sys.modules for n in ('torch', 'rapidocr', 'cv2', 'rapidfuzz')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
