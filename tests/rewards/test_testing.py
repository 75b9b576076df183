from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from marblecli.errors import BadInputError
from marblecli.rewards import testing
from marblecli.rewards.spec import NoOptions, RewardBatch, RewardSpec, Scorer
from marblecli.rewards.testing import CHECKS, Samples, check_reward, make_samples
from marblecli.types import Prompt

InstallPlugin = Callable[..., None]


class Options(NoOptions):
    gain: float = 1.0


def seen_by(batches: list[RewardBatch], **changes: Any) -> RewardSpec:
    def build(options: Options, device: str) -> Scorer:
        def score(batch: RewardBatch) -> Any:
            batches.append(batch)
            return options.gain * np.asarray(batch.images).mean(axis=(1, 2, 3)) / 255

        return score

    return RewardSpec("seen", "", build, options=Options, **changes)


def test_an_installed_reward_is_checked_by_its_name() -> None:
    report = check_reward("shapes-aesthetic")
    report.raise_if_failed()
    assert [one.name for one in report.results] == list(CHECKS)


@pytest.mark.parametrize("check", CHECKS)
def test_each_check_can_be_a_test(check: str, report: testing.Report) -> None:
    report[check].raise_if_failed()


@pytest.fixture(scope="module")
def report() -> testing.Report:
    return check_reward("shapes-compressibility")


def test_a_plugin_that_imports_torch_is_reported(install_plugin: InstallPlugin) -> None:
    code = """
import scipy
from marblecli.rewards import RewardSpec, hookimpl

def build(options, device):
    return lambda batch: [0.5] * len(batch.prompts)

@hookimpl
def marble_register_rewards(register):
    register(RewardSpec("half", "", build))
"""
    install_plugin("greedy", code)
    report = check_reward("half")
    assert report["registration"].detail == "importing plugin_greedy imports scipy"
    assert [one.name for one in report.results if one.status != "ok"] == ["registration"]


def test_options_are_validated_and_used() -> None:
    report = check_reward(seen_by([]), options={"gain": 7.0})
    assert "is outside of the range" in report["range"].detail
    assert check_reward(seen_by([]), options={"gain": 0.5}).ok
    with pytest.raises(BadInputError, match=r"rewards\.shapes-letters\.scoring: must be"):
        check_reward("shapes-letters", options={"scoring": "hard"})
    with pytest.raises(BadInputError, match="unknown reward 'shapes'"):
        check_reward("shapes")


def test_a_reward_is_tried_on_its_examples() -> None:
    batches: list[RewardBatch] = []
    examples = tuple(Prompt(f"number {n}", "s", {"n": n}) for n in range(10))
    check_reward(seen_by(batches, metadata=("n",), examples=examples)).raise_if_failed()
    assert list(batches[0].prompts) == [prompt.text for prompt in examples]
    assert batches[0].metadata[3]["n"] == 3


def test_without_examples_a_reward_is_tried_on_the_plain_prompts_it_applies_to() -> None:
    batches: list[RewardBatch] = []
    quoted = seen_by(batches, condition=lambda prompt: '"' in prompt.text)
    check_reward(quoted).raise_if_failed()
    assert len(batches[0].prompts) == 8
    assert all('"' in text for text in batches[0].prompts)


def test_own_samples_can_be_given() -> None:
    batches: list[RewardBatch] = []
    samples = Samples(torch.rand(3, 3, 20, 10), tuple(Prompt(p, "s") for p in "abc"))
    check_reward(seen_by(batches), samples=samples).raise_if_failed()
    assert batches[0].images.shape == (3, 20, 10, 3)
    assert list(batches[0].prompts) == ["a", "b", "c"]


def test_authors_find_what_they_need_here() -> None:
    assert set(testing.__all__) == {
        "CHECKS",
        "Limits",
        "Report",
        "Samples",
        "check_reward",
        "make_samples",
    }
    assert make_samples is testing.make_samples


def test_every_check_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "rewards.md").read_text()
    table = text[text.index("| check | holds if |") :]
    table = table[: table.index("\n\n")]
    names = [
        name for row in table.splitlines()[2:] for name in re.findall("`(.*?)`", row.split("|")[1])
    ]
    assert sorted(names) == sorted(CHECKS)
