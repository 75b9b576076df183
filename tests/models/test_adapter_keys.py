from __future__ import annotations

import pytest

from marblecli.models.adapter_keys import Stem, split_key, stems
from marblecli.models.native import NativeLayer

QKV = {letter: NativeLayer("j.0.qkv", piece, 3) for piece, letter in enumerate("qkv")}


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("transformer.x.to_q.lora_A.weight", ("transformer.x.to_q", "a")),
        ("base_model.model.x.lora_B.weight", ("base_model.model.x", "b")),
        ("lora_unet_x.lora_down.weight", ("lora_unet_x", "a")),
        ("lora_unet_x.alpha", ("lora_unet_x", "alpha")),
        ("x.lora_magnitude_vector", ("x", "magnitude")),
        ("x.lora_magnitude_vector.weight", ("x", "magnitude")),
        ("x.dora_scale", ("x", "native magnitude")),
        ("x.bias", None),
    ],
)
def test_a_key_says_what_its_tensor_is(key: str, found: object) -> None:
    assert split_key(key) == found


def test_every_tools_name_of_a_layer_is_known() -> None:
    known = stems(["block.q"], {"block.q": QKV["q"]}, "transformer.")
    assert known["block.q"] == [Stem("block.q", bare=True)]
    for stem in ("transformer.block.q", "base_model.model.block.q", "lora_transformer_block_q"):
        assert known[stem] == [Stem("block.q")]
    for stem in ("lora_unet_j_0_qkv", "diffusion_model.j.0.qkv"):
        assert known[stem] == [Stem("block.q", QKV["q"])]


def test_one_published_layer_is_several_of_diffusers() -> None:
    known = stems(["q", "k", "v"], QKV, "transformer.")
    assert [stem.layer for stem in known["lora_unet_j_0_qkv"]] == ["q", "k", "v"]
