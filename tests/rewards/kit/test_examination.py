from __future__ import annotations

import os
import threading
from typing import Any

import pytest
import torch

from marblecli.rewards.kit.checks import ON_TRIAL
from marblecli.rewards.kit.examination import CHECKS, Examination, Subject
from marblecli.rewards.kit.samples import make_samples
from marblecli.rewards.kit.trial import Limits
from marblecli.rewards.spec import Build, NoOptions, RewardSpec, Scorer


def examine(
    scorer: Scorer, module: str = "", build: Build | None = None, **limits: float
) -> Examination:
    spec = RewardSpec("r", "", build or (lambda _options, _device: scorer))
    subject = Subject(spec, NoOptions(), make_samples(), "cpu", 1e-4, Limits(**limits))
    return Examination(subject, module)


def half(batch: Any) -> Any:
    return [0.5] * len(batch.prompts)


def test_checks_are_run_in_their_order() -> None:
    names = [one.name for one in examine(half).report().results]
    assert names == [name for name in CHECKS if name != "registration"]
    assert len(set(CHECKS)) == len(CHECKS)
    assert ON_TRIAL.keys() < set(CHECKS)


def test_all_calls_come_from_one_thread_which_is_not_the_callers() -> None:
    threads: set[int] = set()

    def note(batch: Any) -> Any:
        threads.add(threading.get_ident())
        return half(batch)

    examine(note).report()
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_a_failed_check_does_not_stop_the_ones_after_it() -> None:
    report = examine(lambda batch: [2.0] * len(batch.prompts)).report()
    assert [one.name for one in report.results if one.status != "ok"] == ["range"]


def test_after_a_check_that_never_answers_no_other_is_run() -> None:
    gate, calls = threading.Event(), []

    def hang_later(batch: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            gate.wait(30)
        return half(batch)

    report = examine(hang_later, answer_seconds=0.3).report()
    gate.set()
    assert report["deterministic"].detail == "no answer within 0.3 s"
    assert report["order"].detail == "deterministic never answered"
    assert report["memory"].status == "not run"


def test_a_module_is_registered_alone() -> None:
    report = examine(half, "package_that_is_not_there").report()
    assert report["registration"].status == "failed"
    assert "package_that_is_not_there" in report["registration"].detail
    assert report["memory"].status == "ok"


def test_what_was_measured_is_in_the_report() -> None:
    report = examine(half, "marble_reward_shapes.plugin").report()
    assert report.ok
    assert report.measured.keys() == {"registration_seconds", "seconds_per_image", "memory_mb"}


def test_the_callers_state_is_not_changed() -> None:
    state = torch.get_rng_state()
    examine(half).report()
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state)


def test_a_variable_that_an_import_sets_once_is_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What building itself sets is set again by a second build; what an import sets isn't."""
    monkeypatch.delenv("MARBLE_KIT", raising=False)
    imported: list[str] = []

    def build(_options: NoOptions, _device: str) -> Scorer:
        if not imported:
            imported.append("library")
            os.environ["MARBLE_KIT"] = "from an import"
        return half

    report = examine(half, build=build).report()
    assert report["build-state"].detail == "as it was, after imports set 1"
    assert os.environ["MARBLE_KIT"] == "from an import"


def test_a_variable_that_building_sets_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARBLE_KIT", "0")

    def build(_options: NoOptions, _device: str) -> Scorer:
        os.environ["MARBLE_KIT"] = "1"
        return half

    detail = "building it changes the environment's MARBLE_KIT"
    assert examine(half, build=build).report()["build-state"].detail == detail
