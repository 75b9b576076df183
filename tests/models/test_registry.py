from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from marblecli.errors import BadInputError
from marblecli.models import registry
from marblecli.models.configurations import Architecture
from marblecli.models.registry import (
    default_family,
    examples,
    family_by_name,
    family_of,
    family_of_index,
    shipped_models,
    shipping_family,
    titles,
)
from marblecli.models.sd3.family import SD3
from support.toy_family import TOY


@pytest.fixture(autouse=True)
def _two_families(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "FAMILIES", (SD3, TOY))


def architecture(pipeline: str | None, transformer: str | None, name: str = "a/b") -> Architecture:
    def named(value: str | None) -> dict[str, Any]:
        return {} if value is None else {"_class_name": value}

    return Architecture(name, named(pipeline), {"transformer": named(transformer)})


@pytest.mark.parametrize(
    ("pipeline", "transformer", "family"),
    [
        ("StableDiffusion3Pipeline", "SD3Transformer2DModel", SD3),
        (None, "SD3Transformer2DModel", SD3),
        ("ToyPipeline", "ToyNetwork", TOY),
        (None, "ToyNetwork", TOY),
        ("ToyPipeline", None, TOY),
        (None, None, SD3),
    ],
)
def test_the_classes_tell_the_family(
    pipeline: str | None, transformer: str | None, family: object
) -> None:
    assert family_of(architecture(pipeline, transformer)) is family


def test_classes_of_no_family_are_refused_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        family_of(architecture("FluxPipeline", None))
    assert str(caught.value) == (
        "no Stable Diffusion 3 or Toy: model_index.json of a/b names FluxPipeline, not "
        "StableDiffusion3Pipeline or ToyPipeline"
    )
    with pytest.raises(BadInputError) as caught:
        family_of(architecture("ToyPipeline", "FluxTransformer2DModel", str(tmp_path)))
    assert str(caught.value) == (
        f"no Toy: {tmp_path}/transformer/config.json names FluxTransformer2DModel, not ToyNetwork"
    )
    assert family_of_index("a/b", {"_class_name": "ToyPipeline"}) is TOY


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("stabilityai/stable-diffusion-3.5-large", SD3),
        ("/models/sd3-mine", SD3),
        ("someone/toy-1", TOY),
        ("/toy/model", None),
    ],
)
def test_the_last_part_of_a_name_tells_it_too(name: str, family: object) -> None:
    assert family_by_name(name) is family


def test_what_can_be_trained_is_listed_for_messages() -> None:
    assert titles() == "Stable Diffusion 3 or Toy"
    assert examples() == "stabilityai/stable-diffusion-3.5-medium or someone/toy"
    assert default_family() is SD3
    assert all(shipping_family(hub_id) is SD3 for hub_id in shipped_models())
    assert shipping_family("someone/toy") is None


def test_families_have_names_of_their_own() -> None:
    names = [family.spec.name for family in registry.FAMILIES]
    assert len(set(names)) == len(names)
