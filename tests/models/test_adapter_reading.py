"""Files are written by the tools themselves where these are installed, else by hand."""

from __future__ import annotations

import json
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline
from peft import LoraConfig, get_peft_model
from torch import Tensor

from marblecli.errors import BadInputError
from marblecli.models.adapter_reading import read_adapter
from marblecli.models.adapter_weights import AdapterWeights
from marblecli.models.configurations import Architecture
from marblecli.models.sd3.family import SD3
from marblecli.runs.adapter_files import read_adapter_file
from marblecli.types import AdapterFile

QUERY = "transformer_blocks.0.attn.to_q"
WIDTH = 16


def architecture(transformer: SD3Transformer2DModel) -> Architecture:
    return Architecture("tiny", {}, {"transformer": dict(transformer.config)})


def read(
    transformer: SD3Transformer2DModel, file: AdapterFile | Path, alpha: float | None = None
) -> AdapterWeights:
    read_file = read_adapter_file(file) if isinstance(file, Path) else file
    return read_adapter(read_file, SD3, architecture(transformer), alpha)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pair(stem: str, a: str = "lora_A", b: str = "lora_B", rank: int = 2) -> dict[str, Tensor]:
    return {f"{stem}.{a}.weight": draw(rank, WIDTH), f"{stem}.{b}.weight": draw(WIDTH, rank)}


def file_of(tensors: dict[str, Tensor], **settings: Any) -> AdapterFile:
    return AdapterFile("some.safetensors", tensors, settings)


@pytest.mark.parametrize("dora", [False, True])
def test_a_folder_of_peft_is_what_peft_merges(
    transformer: SD3Transformer2DModel, tmp_path: Path, dora: bool
) -> None:
    config = LoraConfig(
        r=2,
        lora_alpha=6,
        target_modules=["attn.to_q", "attn.to_out.0"],
        use_dora=dora,
        init_lora_weights=False,
        alpha_pattern={"transformer_blocks.1.attn.to_q": 3},
    )
    base = {name: tensor.clone() for name, tensor in transformer.state_dict().items()}
    wrapped = get_peft_model(transformer, config)
    wrapped.save_pretrained(tmp_path)
    merged = wrapped.merge_and_unload().state_dict()
    adapter = read(transformer, tmp_path)
    assert adapter.dora is dora
    assert len(adapter.layers) == 4
    assert adapter.layers["transformer_blocks.1.attn.to_q"].alpha == 3
    for name, layer in adapter.layers.items():
        weight = base[f"{name}.weight"]
        found = weight + layer.change(weight).float()
        torch.testing.assert_close(found, merged[f"{name}.weight"], atol=1e-5, rtol=1e-5)


def test_what_diffusers_writes_is_read_at_its_strength(
    transformer: SD3Transformer2DModel, tmp_path: Path
) -> None:
    layers = pair(QUERY)
    for metadata, alpha in (({"r": 2, "lora_alpha": 7}, 7.0), (None, 2.0)):
        StableDiffusion3Pipeline.save_lora_weights(
            tmp_path, layers, transformer_lora_adapter_metadata=metadata
        )
        assert read(transformer, tmp_path).layers[QUERY].alpha == alpha


def test_rank_stabilised_adapters_have_their_own_scale(transformer: SD3Transformer2DModel) -> None:
    file = file_of(pair(f"transformer.{QUERY}"), lora_alpha=3, use_rslora=True)
    assert read(transformer, file).layers[QUERY].scale == pytest.approx(3 / sqrt(2))


def test_a_bare_file_needs_its_alpha(transformer: SD3Transformer2DModel) -> None:
    with pytest.raises(BadInputError, match=r"some\.safetensors: doesn't say its alpha"):
        read(transformer, file_of(pair(QUERY)))
    assert read(transformer, file_of(pair(QUERY)), alpha=5.0).layers[QUERY].alpha == 5.0
    assert read(transformer, file_of(pair(QUERY), lora_alpha=3)).layers[QUERY].alpha == 3.0


def stacked(alpha: float, *, diagonal: bool) -> dict[str, Tensor]:
    """q, k and v as one layer at rank 6, either block-diagonal or dense."""
    up = draw(3 * WIDTH, 6, seed=3)
    if diagonal:
        up = torch.block_diag(*(draw(WIDTH, 2, seed=seed) for seed in range(3)))
    return {"lora_down.weight": draw(6, WIDTH), "lora_up.weight": up, "alpha": torch.tensor(alpha)}


@pytest.mark.parametrize("stem", ["lora_unet_joint_blocks_1_x_block_attn_qkv",
                                  "diffusion_model.joint_blocks.1.x_block.attn.qkv"])  # fmt: skip
@pytest.mark.parametrize("diagonal", [True, False])
def test_queries_keys_and_values_are_cut_from_one_layer(
    transformer: SD3Transformer2DModel, stem: str, diagonal: bool
) -> None:
    tensors = stacked(3.0, diagonal=diagonal)
    found = read(transformer, file_of({f"{stem}.{end}": t for end, t in tensors.items()})).layers
    whole = 3.0 / 6 * tensors["lora_up.weight"].double() @ tensors["lora_down.weight"].double()
    assert len(found) == 3
    for letter, part in zip("qkv", whole.chunk(3), strict=True):
        layer = found[f"transformer_blocks.1.attn.to_{letter}"]
        torch.testing.assert_close(layer.change(torch.zeros(WIDTH, WIDTH)), part)
        assert layer.rank == (2 if diagonal else 6)


def test_shift_and_scale_stand_in_the_other_order(transformer: SD3Transformer2DModel) -> None:
    tensors = {
        "diffusion_model.final_layer.adaLN_modulation.1.lora_A.weight": torch.ones(1, WIDTH),
        "diffusion_model.final_layer.adaLN_modulation.1.lora_B.weight": torch.cat(
            [torch.ones(WIDTH, 1), torch.zeros(WIDTH, 1)]
        ),
    }
    layer = read(transformer, file_of(tensors)).layers["norm_out.linear"]
    assert layer.b.flatten().tolist() == [0.0] * WIDTH + [1.0] * WIDTH


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (pair("transformer.blocks.0.to_q"), "2 of 2 keys are of no adapter of a layer of tiny"),
        (pair("text_encoder.x") | pair(f"transformer.{QUERY}"), "2 of 4 keys"),
        ({}, "holds no adapter"),
        ({f"transformer.{QUERY}.lora_A.weight": torch.ones(2, 16)}, "only one of its two matrices"),
        ({f"transformer.{QUERY}.lora_A.weight": torch.ones(2, 9),
          f"transformer.{QUERY}.lora_B.weight": torch.ones(16, 2)}, "for another model"),
        (pair(f"transformer.{QUERY}") | {f"transformer.{QUERY}.dora_scale": torch.ones(16, 1)},
         "DoRA in ComfyUI's keys"),
        (pair(f"transformer.{QUERY}")
         | pair("transformer.transformer_blocks.1.attn.to_q")
         | {f"transformer.{QUERY}.lora_magnitude_vector": torch.ones(16)}, "only some of its"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    transformer: SD3Transformer2DModel, tensors: dict[str, Tensor], message: str
) -> None:
    with pytest.raises(BadInputError, match=message) as caught:
        read(transformer, file_of(tensors))
    assert "\n" not in str(caught.value)


def test_settings_that_are_no_json_are_named(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{")
    from safetensors.torch import save_file

    save_file({"x": torch.ones(1)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(BadInputError, match=r"adapter_config\.json: its settings aren't JSON"):
        read_adapter_file(tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 3}))
    assert read_adapter_file(tmp_path).settings == {"lora_alpha": 3}
