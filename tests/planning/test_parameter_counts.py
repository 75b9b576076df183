from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from marblecli.models.architectures import (
    Architecture,
    folder_architecture,
    shipped_architecture,
)
from marblecli.models.make_policies import make_policies
from marblecli.models.registry import shipped_models
from marblecli.models.sd3.family import SD3
from marblecli.planning.parameter_counts import (
    adapter_parameters,
    clip_parameters,
    t5_parameters,
    transformer_shape,
    vae_parameters,
)
from marblecli.settings import LoraSettings, ModelSettings

TINY = Path(__file__).parents[2] / "plugins" / "marble-reward-shapes" / "tiny-sd3"


@pytest.fixture(params=[*shipped_models(), "tiny"])
def architecture(request: pytest.FixtureRequest) -> Architecture:
    if request.param == "tiny":
        return folder_architecture(TINY)
    return shipped_architecture(request.param)


def on_meta(kind: type[nn.Module], config: Mapping[str, Any]) -> Any:
    with torch.device("meta"):
        if kind is CLIPTextModelWithProjection:
            return kind(CLIPTextConfig.from_dict(dict(config)))
        if kind is T5EncoderModel:
            return kind(T5Config.from_dict(dict(config)))
        return kind.from_config(dict(config))


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_transformer_is_counted_as_it_is_built(architecture: Architecture) -> None:
    config = architecture.parts["transformer"]
    built, shape = on_meta(SD3Transformer2DModel, config), transformer_shape(config)
    assert shape.parameters == count(built)
    assert shape.buffers == sum(buffer.numel() for buffer in built.buffers())
    linears = {
        name: (module.in_features, module.out_features)
        for name, module in built.named_modules()
        if isinstance(module, nn.Linear)
    }
    assert {one.name: (one.inputs, one.outputs) for one in shape.linears()} == linears


def test_the_other_parts_are_counted_as_they_are_built(architecture: Architecture) -> None:
    parts = architecture.parts
    clip = CLIPTextModelWithProjection
    assert vae_parameters(parts["vae"]) == count(on_meta(AutoencoderKL, parts["vae"]))
    for name in ("text_encoder", "text_encoder_2"):
        assert clip_parameters(parts[name]) == count(on_meta(clip, parts[name]))
    t5 = parts["text_encoder_3"]
    assert t5_parameters(t5) == count(on_meta(T5EncoderModel, t5))


@pytest.mark.parametrize(
    ("hub_id", "billions", "with_positions"),
    [
        ("stabilityai/stable-diffusion-3-medium-diffusers", 2.03, 2.08),
        ("stabilityai/stable-diffusion-3.5-medium", 2.24, 2.47),
        ("stabilityai/stable-diffusion-3.5-large", 8.06, 8.15),
    ],
)
def test_the_transformers_have_their_published_sizes(
    hub_id: str, billions: float, with_positions: float
) -> None:
    """Published as 2, 2.5 and 8.1 billion, the latter two with their positional embeddings."""
    shape = transformer_shape(shipped_architecture(hub_id).parts["transformer"])
    assert round(shape.parameters / 1e9, 2) == billions
    assert round((shape.parameters + shape.buffers) / 1e9, 2) == with_positions


@pytest.mark.parametrize("part", ["vae", "text_encoder", "text_encoder_2", "text_encoder_3"])
def test_classes_defaults_stand_for_what_a_configuration_leaves_out(part: str) -> None:
    counts = {
        "vae": (vae_parameters, AutoencoderKL),
        "text_encoder": (clip_parameters, CLIPTextModelWithProjection),
        "text_encoder_2": (clip_parameters, CLIPTextModelWithProjection),
        "text_encoder_3": (t5_parameters, T5EncoderModel),
    }
    counted, kind = counts[part]
    assert counted({}) == count(on_meta(kind, {}))


def test_a_transformers_defaults_stand_too() -> None:
    assert transformer_shape({}).parameters == count(on_meta(SD3Transformer2DModel, {}))


@pytest.mark.parametrize(
    "lora",
    [
        LoraSettings(rank=3),
        LoraSettings(rank=2, targets=("attn.to_q", "ff.net.2", "proj_out")),
        LoraSettings(rank=2, targets="all-linear"),
        LoraSettings(rank=2, dora=True),
    ],
    ids=["published", "named", "all-linear", "dora"],
)
def test_adapters_are_counted_as_they_are_made(lora: LoraSettings) -> None:
    config = {**folder_architecture(TINY).parts["transformer"], "dual_attention_layers": [0, 2]}
    transformer = SD3Transformer2DModel.from_config(config)
    settings = ModelSettings(pretrained="x", dtype="fp32", lora=lora)
    trained = make_policies(SD3, transformer, settings).trained_parameters()
    assert adapter_parameters(transformer_shape(config), lora) == sum(
        parameter.numel() for parameter in trained.values()
    )


def test_the_published_adapter_has_about_nineteen_million_parameters() -> None:
    hub_id = "stabilityai/stable-diffusion-3.5-medium"
    shape = transformer_shape(shipped_architecture(hub_id).parts["transformer"])
    # Eight projections of 24 layers; the last layer has no projection of the context's output.
    assert adapter_parameters(shape, LoraSettings()) == (24 * 8 - 1) * 2 * 1536 * 32
