from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from marblecli.errors import BadInputError
from marblecli.models.architectures import Architecture, UnreadableConfigError
from marblecli.models.registry import shipped_models
from marblecli.models.sd3.family import SD3
from marblecli.models.supported import check_configuration, check_name, examine_model
from marblecli.settings import ModelSettings

TINY = Path(__file__).parents[2] / "plugins" / "marble-reward-shapes" / "tiny-sd3"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Configurations without weights."""
    shutil.copytree(TINY, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    return tmp_path / "model"


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def examine(folder: Path) -> Architecture | UnreadableConfigError:
    return examine_model(ModelSettings(pretrained=str(folder))).architecture


@pytest.mark.parametrize(
    "hub_id", [*shipped_models(), "someone/sd3-flux-style", "someone/my-model"]
)
def test_names_that_say_nothing_else_pass(hub_id: str) -> None:
    check_name(hub_id)


def test_what_is_shipped_passes() -> None:
    for hub_id in shipped_models():
        examined = examine_model(ModelSettings(pretrained=hub_id))
        assert examined.family is SD3
        assert isinstance(examined.architecture, Architecture)


@pytest.mark.parametrize(
    "name",
    [
        "stabilityai/stable-diffusion-3.5-large-turbo",
        "tensorart/stable-diffusion-3.5-large-TurboX",
        "jasperai/flash-sd3",
        "someone/sd3-LCM",
        "/models/sd3.5-large-turbo",
    ],
)
def test_a_distilled_model_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(BadInputError, match="distilled model by its name"):
        check_name(name)


def test_only_the_last_part_of_a_path_is_its_name() -> None:
    check_name("/home/turbo/flash/sd3.5-medium")


@pytest.mark.parametrize(
    "name", ["black-forest-labs/FLUX.1-dev", "stabilityai/stable-diffusion-xl-base-1.0"]
)
def test_another_family_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(BadInputError, match="no Stable Diffusion 3 by its name"):
        check_name(name)


def test_a_folder_of_the_right_classes_passes_whatever_its_sizes(folder: Path) -> None:
    change(folder / "transformer" / "config.json", num_layers=7, qk_norm=None)
    found = examine(folder)
    assert isinstance(found, Architecture)
    assert found.parts["transformer"]["num_layers"] == 7


@pytest.mark.parametrize(
    ("file", "values", "reason"),
    [
        ("model_index.json", {"_class_name": "FluxPipeline"}, "names FluxPipeline"),
        ("transformer/config.json", {"_class_name": "Transformer2DModel"}, "not SD3Transformer"),
        ("model_index.json", {"_name_or_path": "x/sd3.5-large-turbo"}, "comes from x/sd3.5"),
        ("vae/config.json", {"_name_or_path": "/a/large-turbo/vae"}, "vae/config.json says"),
        ("scheduler/scheduler_config.json", {"_class_name": "FlowMatchLCMScheduler"}, "sampler"),
        ("scheduler/scheduler_config.json", {"stochastic_sampling": True}, "draws noise"),
    ],
)
def test_a_configuration_that_shows_another_model_is_refused(
    folder: Path, file: str, values: dict[str, Any], reason: str
) -> None:
    change(folder / file, **values)
    with pytest.raises(BadInputError, match=reason):
        examine(folder)


def test_a_transformer_of_turbos_figures_alone_cant_be_told_apart() -> None:
    """SD3.5 Large Turbo's configuration is SD3.5 Large's."""
    hub_id = "stabilityai/stable-diffusion-3.5-large"
    large = examine_model(ModelSettings(pretrained=hub_id)).architecture
    assert isinstance(large, Architecture)
    check_configuration(Architecture("/models/mine", {}, large.parts))


def test_what_cant_be_read_is_a_fault_of_a_random_model_only(folder: Path) -> None:
    (folder / "vae" / "config.json").unlink()
    assert isinstance(examine(folder), UnreadableConfigError)
    with pytest.raises(UnreadableConfigError, match="vae"):
        examine_model(ModelSettings(pretrained=str(folder), random_weights=True))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("model_index.json", None),
        ("model_index.json", "{"),
        ("model_index.json", "{}"),
        ("transformer/config.json", None),
        ("transformer/config.json", "[]"),
    ],
)
def test_a_folder_that_doesnt_say_what_it_is_holds_no_model(
    folder: Path, file: str, text: str | None
) -> None:
    (folder / file).unlink() if text is None else (folder / file).write_text(text)
    with pytest.raises(BadInputError) as caught:
        examine(folder)
    assert str(caught.value) == (f"no model in diffusers' layout: {folder} has no readable {file}")


def test_a_hub_that_nobody_can_reach_leaves_a_guess_by_the_name(empty_cache: Path) -> None:
    examined = examine_model(ModelSettings(pretrained="someone/my-model"))
    assert examined.family is SD3
    assert isinstance(examined.architecture, UnreadableConfigError)
