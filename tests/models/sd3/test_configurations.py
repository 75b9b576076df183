from __future__ import annotations

import inspect
import zipfile
from pathlib import Path
from typing import Any

import pytest
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
from hatchling.builders.wheel import WheelBuilder
from transformers import CLIPTextConfig, T5Config

from marblecli.models.architectures import shipped_architecture
from marblecli.models.sd3.family import SD3

ROOT = Path(__file__).parents[3]
SHIPPED = SD3.spec.shipped


def part(hub_id: str, name: str) -> Any:
    return shipped_architecture(hub_id).parts[name]


@pytest.mark.parametrize("hub_id", SHIPPED)
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("transformer", SD3Transformer2DModel),
        ("vae", AutoencoderKL),
        ("scheduler", FlowMatchEulerDiscreteScheduler),
    ],
)
def test_a_shipped_part_has_only_keys_that_its_class_takes(
    hub_id: str, name: str, kind: type
) -> None:
    config = dict(part(hub_id, name))
    assert config.pop("_class_name") == kind.__name__
    assert not config.keys() - inspect.signature(kind).parameters.keys()


@pytest.mark.parametrize("hub_id", SHIPPED)
def test_shipped_text_encoders_have_only_keys_of_their_configurations(hub_id: str) -> None:
    for name in ("text_encoder", "text_encoder_2"):
        assert not part(hub_id, name).keys() - CLIPTextConfig().to_dict().keys() - {"architectures"}
    named = {"feed_forward_proj", "is_gated_act", "dense_act_fn"}
    t5 = part(hub_id, "text_encoder_3")
    assert not t5.keys() - T5Config().to_dict().keys() - named - {"architectures"}
    assert T5Config.from_dict(dict(t5)).dense_act_fn == t5["dense_act_fn"]


def test_shipped_parts_fit_together() -> None:
    for hub_id in SHIPPED:
        parts = shipped_architecture(hub_id).parts
        assert parts.keys() == SD3.spec.parts.keys()
        transformer, clip = parts["transformer"], ("text_encoder", "text_encoder_2")
        assert transformer["in_channels"] == parts["vae"]["latent_channels"]
        pooled = sum(parts[name]["projection_dim"] for name in clip)
        assert transformer["pooled_projection_dim"] == pooled
        assert transformer["joint_attention_dim"] == parts["text_encoder_3"]["d_model"]
        width = transformer["num_attention_heads"] * transformer["attention_head_dim"]
        assert transformer["caption_projection_dim"] == width


def test_the_transformers_differ_as_published() -> None:
    sd3, medium, large = (part(hub_id, "transformer") for hub_id in SHIPPED)
    assert (sd3["num_layers"], sd3["qk_norm"], sd3["pos_embed_max_size"]) == (24, None, 192)
    assert medium["dual_attention_layers"] == list(range(13))
    assert (medium["qk_norm"], medium["pos_embed_max_size"]) == ("rms_norm", 384)
    assert (large["num_layers"], large["num_attention_heads"]) == (38, 38)
    assert (large["dual_attention_layers"], large["pos_embed_max_size"]) == ([], 192)


def test_the_configurations_are_in_the_wheel(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    names = zipfile.ZipFile(wheel).namelist()
    folder = "marblecli/models/sd3/configurations"
    for own in SHIPPED.values():
        assert f"{folder}/{own}/transformer.json" in names
    common = SD3.spec.parts.keys() - {"transformer"}
    assert {f"{folder}/common/{name}.json" for name in common} <= set(names)
