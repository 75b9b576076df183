from __future__ import annotations

import inspect
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
from hatchling.builders.wheel import WheelBuilder
from transformers import CLIPTextConfig, T5Config

from marblecli.errors import BadInputError
from marblecli.models.architectures import (
    PARTS,
    SHIPPED,
    UnreadableConfigError,
    find_architecture,
    folder_architecture,
    hub_architecture,
    shipped_architecture,
)
from marblecli.settings import ModelSettings

ROOT = Path(__file__).parents[2]
TINY = ROOT / "plugins" / "marble-reward-shapes" / "tiny-sd3"
MEDIUM = "stabilityai/stable-diffusion-3.5-medium"


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
        assert parts.keys() == PARTS.keys()
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
    folder = "marblecli/models/architectures_data"
    for own in SHIPPED.values():
        assert f"{folder}/{own}/transformer.json" in names
    common = PARTS.keys() - {"transformer"}
    assert {f"{folder}/common/{name}.json" for name in common} <= set(names)


def test_a_model_that_is_not_shipped_is_refused_with_the_choices() -> None:
    with pytest.raises(BadInputError, match="did you mean") as caught:
        find_architecture(ModelSettings(pretrained=MEDIUM + "s", random_weights=True))
    assert all(hub_id in str(caught.value) for hub_id in SHIPPED)


def test_a_folder_is_read_with_the_parts_that_it_has(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(TINY, folder)
    shutil.rmtree(folder / "text_encoder_3")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "text_encoder_3": [None, None]}))
    found = find_architecture(ModelSettings(pretrained=str(folder)))
    assert found.parts.keys() == PARTS.keys() - {"text_encoder_3"}
    assert found.parts["transformer"]["num_layers"] == 4


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("vae/config.json", None, "No such file"),
        ("vae/config.json", "{", "isn't JSON"),
        ("transformer/config.json", "[]", "holds no table"),
    ],
)
def test_a_part_that_cant_be_read_is_named(
    tmp_path: Path, file: str, text: str | None, reason: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(TINY, folder)
    if text is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(text)
    with pytest.raises(UnreadableConfigError, match=reason) as caught:
        folder_architecture(folder)
    assert file in str(caught.value)


def test_what_the_hubs_cache_has_needs_no_network(empty_cache: Path) -> None:
    commit = "0" * 40
    repository = empty_cache / "models--someone--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    for file in ("model_index.json", *PARTS.values()):
        kept = repository / "snapshots" / commit / file
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes((TINY / file).read_bytes())
    assert hub_architecture("someone/tiny").parts == folder_architecture(TINY).parts
    shutil.rmtree(empty_cache)
    # Read once a command.
    assert hub_architecture("someone/tiny").parts.keys() == PARTS.keys()


def test_a_hub_that_nobody_can_reach_is_a_reason(empty_cache: Path) -> None:
    with pytest.raises(UnreadableConfigError, match="someone/tiny isn't in the hub's cache"):
        hub_architecture("someone/tiny")


def test_the_hub_is_asked_once(hub: list[str]) -> None:
    with pytest.raises(UnreadableConfigError, match="404"):
        hub_architecture("someone/weights", "main")
    assert hub == ["GET /someone/weights/resolve/main/model_index.json"]
