from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from marblecli.models.check import model_problems
from marblecli.settings import ModelSettings

TINY = Path(__file__).parents[2] / "plugins" / "marble-reward-shapes" / "tiny-sd3"
MEDIUM = "stabilityai/stable-diffusion-3.5-medium"


def model_of(pretrained: str = str(TINY), **values: object) -> ModelSettings:
    return ModelSettings.model_validate({"pretrained": pretrained, **values})


def lines(model: ModelSettings, resolution: int | None = None) -> list[str]:
    return [str(problem) for problem in model_problems(model, resolution)]


@pytest.mark.parametrize(
    ("pretrained", "resolution", "line"),
    [
        (MEDIUM, 512, None),
        (MEDIUM, 6144, None),
        (MEDIUM, 520, "must be a multiple of 16 and at most 6144 with this model, got 520; the"),
        (MEDIUM, 6160, "the nearest are 6128 or 6144"),
        (str(TINY), 32, None),
        (str(TINY), 24, None),
        (str(TINY), 40, "at most 32 with this model, got 40; the nearest are 24 or 32"),
    ],
)
def test_a_side_that_the_model_cant_make_is_a_fault(
    pretrained: str, resolution: int, line: str | None
) -> None:
    found = lines(model_of(pretrained), resolution)
    assert len(found) == (line is not None)
    for one in found:
        assert one.startswith("sampling.resolution: ")
        assert line is not None
        assert line in one


def test_a_vae_of_another_factor_moves_the_step() -> None:
    """The tiny model's factor is 4 and its patch 2; SD3's are 8 and 2."""
    assert lines(model_of(), 16) == lines(model_of(MEDIUM), 16) == []
    assert lines(model_of(), 24) == []
    assert "the nearest are 16 or 32" in lines(model_of(MEDIUM), 24)[0]


def test_wrong_targets_are_told_each_with_the_nearest_right_one() -> None:
    targets = ["attn.to_q", "attn.to_kk", "q_proj", "attn.to_out"]
    assert lines(model_of(lora={"targets": targets})) == [
        "model.lora.targets: the network has no layer 'attn.to_kk' (did you mean 'attn.to_k'?)",
        "model.lora.targets: the network has no layer 'q_proj' (did you mean 'add_q_proj'?)",
        "model.lora.targets: 'attn.to_out' isn't a layer that an adapter can sit on (did you mean "
        "'attn.to_out.0'?)",
    ]


@pytest.mark.parametrize(
    "values",
    [
        {"lora": {"targets": ["attn.to_q", "ff.net.2"]}},
        {"lora": {"targets": "all-linear"}},
        {"mode": "full", "lora": {"targets": ["nothing"]}},
    ],
)
def test_targets_that_are_right_or_unused_are_no_fault(values: dict[str, object]) -> None:
    assert lines(model_of(**values), 32) == []


def test_all_faults_are_told_at_once() -> None:
    model = model_of(t5="4bit", tokens=3, lora={"targets": ["nowhere"]})
    assert [line.split(":")[0] for line in lines(model)] == [
        "model.t5",
        "model.tokens",
        "model.lora.targets",
    ]


def test_a_model_that_cant_be_trained_is_the_only_fault() -> None:
    (line,) = lines(model_of("someone/sd3-turbo", t5="4bit"), 520)
    assert line.startswith("model.pretrained: someone/sd3-turbo is a distilled model")


def test_without_configurations_only_the_options_are_checked(
    empty_cache: Path, tmp_path: Path
) -> None:
    model = model_of("someone/my-model", t5="4bit", lora={"targets": ["nowhere"]})
    (line,) = lines(model, 520)
    assert line.startswith("model.t5: ")
    folder = tmp_path / "model"
    shutil.copytree(TINY, folder)
    (folder / "vae" / "config.json").unlink()
    assert lines(model_of(str(folder)), 520) == []


def test_usual_settings_are_checked_without_building_the_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "marblecli.models.random", None)
    assert lines(model_of(MEDIUM), 512) == []
    assert lines(model_of(MEDIUM, lora={"targets": "all-linear"}), 512) == []
