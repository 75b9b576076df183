"""For every check, a reward that really breaks it, and what the kit says."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel

from marblecli.rewards.kit.report import CheckResult
from marblecli.rewards.spec import (
    HubFiles,
    ImageLayout,
    NoOptions,
    RewardBatch,
    RewardSpec,
    Scorer,
)
from marblecli.rewards.testing import Limits, check_reward
from marblecli.types import Prompt

EXAMPLES = (
    Prompt('a sign "HI"', "s", {"text": "HI", "count": 1}),
    Prompt('a sign "HO"', "s", {"text": "HO", "count": 2}),
)


def mean(batch: RewardBatch) -> Any:
    """A sound reward. The broken ones below do the same, and something else."""
    return np.asarray([fields["text"] == "HI" for fields in batch.metadata]) * 0.1 + np.asarray(
        batch.images
    ).mean(axis=(1, 2, 3)) / (255 * 2)


class Loose(BaseModel):
    """Options that accept any key."""


def spec_of(scorer: Scorer, **changes: Any) -> RewardSpec:
    return replace(
        RewardSpec(
            name="tried",
            summary="",
            build=lambda _options, _device: scorer,
            metadata=("text",),
            examples=EXAMPLES,
        ),
        **changes,
    )


def failures(spec: RewardSpec, **settings: Any) -> dict[str, str]:
    """The reasons of failed checks, by check."""
    results: tuple[CheckResult, ...] = check_reward(spec, **settings).results
    return {one.name: one.detail for one in results if one.status == "failed"}


def test_a_sound_reward_passes_all() -> None:
    report = check_reward(spec_of(mean))
    assert [one.status for one in report.results] == ["ok"] * len(report.results)
    assert report["deterministic"].detail == "0 apart"
    assert report["metadata"].detail == "reads text"
    assert report["range"].detail.endswith("in 0 to 1")


def twice_as_many(batch: RewardBatch) -> Any:
    return np.concatenate([mean(batch), mean(batch)])


def a_column(batch: RewardBatch) -> Any:
    return mean(batch)[:, None]


def one_for_all(batch: RewardBatch) -> Any:
    return mean(batch).mean()


@pytest.mark.parametrize("scorer", [twice_as_many, a_column, one_for_all])
def test_a_wrong_number_of_values(scorer: Scorer) -> None:
    assert failures(spec_of(scorer))["shape"].startswith("expected 8 values, got an array of")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(bad: float) -> None:
    def odd(batch: RewardBatch) -> Any:
        return np.where(np.asarray(batch.images).std(axis=(1, 2, 3)) == 0, bad, mean(batch))

    assert "values aren't finite" in failures(spec_of(odd))["finite"]


def test_nothing_scored() -> None:
    def refuse(batch: RewardBatch) -> Any:
        return np.ma.masked_all(len(mean(batch)))

    assert failures(spec_of(refuse)) == {"finite": "all values are masked: nothing was scored"}


def test_masked_values_are_reported_and_no_failure() -> None:
    def without_flat(batch: RewardBatch) -> Any:
        flat = np.asarray(batch.images).std(axis=(1, 2, 3)) == 0
        return np.ma.array(mean(batch), mask=flat)

    report = check_reward(spec_of(without_flat))
    assert report.ok
    assert "masked" in report["finite"].detail


@pytest.mark.parametrize(("scale", "shown"), [(10.0, "5 is"), (-1.0, "-0.")])
def test_values_outside_of_the_range(scale: float, shown: str) -> None:
    found = failures(spec_of(lambda batch: scale * mean(batch)))
    assert list(found) == ["range"]
    assert "outside of the range 0 to 1" in found["range"]


def test_rounding_may_exceed_a_bound() -> None:
    assert not failures(spec_of(lambda batch: np.full(len(mean(batch)), 1.0 + 1e-7)))


def test_values_that_change_from_call_to_call() -> None:
    own = random.Random(0)  # noqa: S311

    def noisy(batch: RewardBatch) -> Any:
        return mean(batch) + 1e-3 * own.random()

    assert "the same call gives values" in failures(spec_of(noisy))["deterministic"]


def test_on_the_cpu_values_must_be_the_same_to_the_bit() -> None:
    calls: list[int] = []

    def drifting(batch: RewardBatch) -> Any:
        calls.append(1)
        return mean(batch) + 1e-15 * len(calls)

    assert list(failures(spec_of(drifting))) == ["deterministic"]


def test_values_that_depend_on_the_place_in_the_batch() -> None:
    def by_place(batch: RewardBatch) -> Any:
        return mean(batch) + 0.01 * np.arange(len(batch.prompts))

    assert "in another order values are" in failures(spec_of(by_place))["order"]


def test_values_that_depend_on_the_other_images_of_the_batch() -> None:
    def centred(batch: RewardBatch) -> Any:
        return 0.5 + mean(batch) - mean(batch).mean()

    found = failures(spec_of(centred))
    assert list(found) == ["batch-size"]
    assert "in a batch of another size values are" in found["batch-size"]


def test_the_tolerance_is_a_setting() -> None:
    def centred(batch: RewardBatch) -> Any:
        return mean(batch) + 1e-6 * mean(batch).mean()

    assert failures(spec_of(centred)) == {}
    assert list(failures(spec_of(centred), tolerance=1e-9)) == ["batch-size"]


def square_only(batch: RewardBatch) -> Any:
    images = np.asarray(batch.images)
    images = images if images.shape[-1] == 3 else np.moveaxis(images, 1, -1)
    return (images + np.swapaxes(images, 1, 2)).mean(axis=(1, 2, 3)) / 1e3 + 0 * mean(batch)


def as_pil(batch: RewardBatch) -> Any:
    return [image.getpixel((0, 0))[0] / 255 for image in batch.images]


def as_uint8(batch: RewardBatch) -> Any:
    return [image[0, 0, 0].item() / 255 for image in batch.images]


@pytest.mark.parametrize(
    ("declared", "scorer", "check"),
    [
        ("uint8", square_only, "layout"),
        ("uint8", as_pil, "scores"),
        ("float", as_pil, "scores"),
        ("pil", as_uint8, "scores"),
    ],
)
def test_a_scorer_that_needs_another_layout_than_the_declared_one(
    declared: ImageLayout, scorer: Scorer, check: str
) -> None:
    assert check in failures(spec_of(scorer, images=declared))


def test_a_layout_fault_names_the_size() -> None:
    assert failures(spec_of(square_only))["layout"].startswith(
        "uint8 images of 48 x 80: ValueError"
    )


def learned(batch: RewardBatch) -> Any:
    with torch.enable_grad():
        weight = torch.ones((), requires_grad=True)
        return batch.images.mean((1, 2, 3)) * weight


def as_parts(batch: RewardBatch) -> Any:
    return list(learned(batch))


@pytest.mark.parametrize("scorer", [learned, as_parts])
def test_values_with_a_graph(scorer: Scorer) -> None:
    found = failures(spec_of(scorer, images="float"))
    assert found["no-grad"] == "the values require gradients, so they keep a graph in memory"


@pytest.mark.parametrize("layout", ["uint8", "float", "pil"])
def test_changed_images(layout: ImageLayout) -> None:
    def spoil(batch: RewardBatch) -> Any:
        for image in batch.images:
            if layout == "pil":
                image.paste((9, 9, 9), (0, 0, 2, 2))
            else:
                image[:] = 0
        return [0.5] * len(batch.prompts)

    found = failures(spec_of(spoil, images=layout, metadata=()))
    assert found["images-untouched"] == "it changes the images that it is given"


def draws(batch: RewardBatch) -> Any:
    np.random.rand()  # noqa: NPY002
    return mean(batch)


def seeds(batch: RewardBatch) -> Any:
    torch.manual_seed(7)
    return mean(batch)


def sets_variable(batch: RewardBatch) -> Any:
    os.environ["MARBLE_KIT"] = str(time.monotonic())
    return mean(batch)


@pytest.mark.parametrize(
    ("scorer", "state"),
    [
        (draws, "NumPy's random state"),
        (seeds, "torch's random state"),
        (sets_variable, "the environment's MARBLE_KIT"),
    ],
)
@pytest.mark.parametrize("where", ["global-state", "build-state"])
def test_changed_global_state(
    scorer: Scorer, state: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARBLE_KIT", "0")
    kept = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002

    def build(_options: NoOptions, _device: str) -> Scorer:
        scorer(RewardBatch(np.zeros((1, 2, 2, 3)), ["a"], [{"text": "HI"}]))
        return mean

    spec = spec_of(scorer) if where == "global-state" else spec_of(mean, build=build)
    torch.manual_seed(1)
    what = "a call" if where == "global-state" else "building it"
    assert failures(spec) == {where: f"{what} changes {state}"}
    torch.set_rng_state(kept[0])
    np.random.set_state(kept[1])  # noqa: NPY002


def reads(field: str) -> Scorer:
    return lambda batch: [float(fields[field] == "HI") / 2 for fields in batch.metadata]


def asks(field: str) -> Scorer:
    return lambda batch: [0.1 * fields.get(field, 0) for fields in batch.metadata]


def test_undeclared_metadata() -> None:
    assert "'count'" in failures(spec_of(reads("count")))["scores"]
    assert failures(spec_of(asks("count"))) == {
        "metadata": "it reads count: declare it in metadata or optional_metadata"
    }
    assert failures(spec_of(asks("count"), optional_metadata=("count",))) == {}
    assert failures(spec_of(asks("count"), optional_metadata=("*",))) == {}


def test_a_slow_reward() -> None:
    def slow(batch: RewardBatch) -> Any:
        time.sleep(0.01 * len(batch.prompts))
        return mean(batch)

    found = failures(spec_of(slow), limits=Limits(seconds_per_image=0.005))
    assert list(found) == ["time"]
    assert found["time"].endswith("s an image, more than 0.005 s")
    report = check_reward(spec_of(slow))
    assert report.ok
    assert 0.01 <= report.measured["seconds_per_image"] < 0.1


def test_a_reward_that_takes_too_much_memory() -> None:
    def hungry(batch: RewardBatch) -> Any:
        taken = np.ones(150_000_000, dtype=np.uint8)
        time.sleep(0.03)
        return mean(batch) + 0.0 * taken[0]

    found = failures(spec_of(hungry), limits=Limits(memory_mb=100))
    assert list(found) == ["memory"]
    assert found["memory"].endswith("MB, more than 100 MB")


def test_a_reward_that_never_answers() -> None:
    def hang(batch: RewardBatch) -> Any:
        time.sleep(3600)

    began = time.monotonic()
    report = check_reward(spec_of(hang), limits=Limits(answer_seconds=0.2))
    assert time.monotonic() - began < 10
    assert report["scores"].detail == "no answer within 0.2 s"
    assert report["shape"].status == "not run"
    assert report["shape"].detail == "scores failed"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": "two words"}, "ValueError: reward 'two words': a name is letters, digits and"),
        ({"range": (1.0, 0.0)}, "ValueError: reward 'tried': range must rise"),
        ({"options": Loose}, "ValueError: reward 'tried': options must forbid extra keys"),
        ({"examples": (Prompt("a", "s"),)}, "it doesn't apply to its own example 'a'"),
        ({"condition": lambda prompt: False}, "it doesn't apply to its own example"),
        ({"condition": lambda prompt: 1 / 0}, "ZeroDivisionError: division by zero"),
        ({"examples": ()}, "no prompt to try it on: give its RewardSpec examples="),
    ],
)
def test_a_broken_declaration_stops_the_trial(changes: Mapping[str, Any], reason: str) -> None:
    report = check_reward(spec_of(mean, **changes))
    assert report["declaration"].status == "failed"
    assert report["declaration"].detail.startswith(reason)
    assert report["build"].status == "not run"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (HubFiles("weights", "0" * 40, ("*",)), "files: 'weights' is no OWNER/NAME of the hub"),
        (
            HubFiles("a/b", "main", ("*",)),
            "files: a/b is pinned to 'main', which is no commit hash",
        ),
        (HubFiles("a/b", "0" * 40, ()), "files: a/b has no patterns"),
    ],
)
def test_files_that_are_not_pinned(files: HubFiles, reason: str) -> None:
    found = failures(spec_of(mean, files=lambda _options: (files,)))
    assert found == {"declaration": reason}


def fail_to_build(options: NoOptions, device: str) -> Scorer:
    raise OSError("no weights")


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (fail_to_build, "OSError: no weights"),
        (lambda options, device: 3, "build returned 3, which can't be called"),
    ],
)
def test_a_reward_that_cannot_be_built(build: Callable[..., Any], reason: str) -> None:
    report = check_reward(spec_of(mean, build=build))
    assert report["build"].detail == reason
    assert {one.status for one in report.results[2:]} == {"not run"}


def test_a_reward_that_raises() -> None:
    def fail(batch: RewardBatch) -> Any:
        raise KeyError("lost\nhere")

    assert failures(spec_of(fail)) == {"scores": r"KeyError: 'lost\nhere'"}
