"""The map is held against diffusers' own conversion of the published network's files."""

from __future__ import annotations

import pytest
import torch
from diffusers import SD3Transformer2DModel
from diffusers.loaders.single_file_utils import convert_sd3_transformer_checkpoint_to_diffusers
from torch import Tensor

from marblecli.models.sd3.family import SD3
from marblecli.models.sd3.native import native_layers


def published(transformer: SD3Transformer2DModel) -> dict[str, Tensor]:
    """The network's linear weights as the map says that the published network has them."""
    weights = transformer.state_dict()
    pieces: dict[str, dict[int, Tensor]] = {}
    for layer, native in native_layers(transformer.config).items():
        weight = weights[f"{layer}.weight"]
        if native.swapped:
            weight = torch.cat(weight.chunk(2)[::-1])
        pieces.setdefault(native.name, {})[native.piece] = weight
    return {
        f"{name}.weight": torch.cat([parts[place] for place in sorted(parts)])
        for name, parts in pieces.items()
    }


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_diffusers_converts_the_published_layers_back(transformer: SD3Transformer2DModel) -> None:
    weights = transformer.state_dict()
    whole = published(transformer)
    heads = {name: torch.zeros(len(weight)) for name, weight in whole.items()}
    checkpoint = whole | {name.replace(".weight", ".bias"): zero for name, zero in heads.items()}
    checkpoint["pos_embed"] = weights["pos_embed.pos_embed"]
    streams = [f"{block}.{kind}_block.attn" for block in (0, 1) for kind in ("x", "context")]
    for stream in (*streams, "0.x_block.attn2"):
        for norm in ("ln_q", "ln_k"):
            checkpoint[f"joint_blocks.{stream}.{norm}.weight"] = torch.ones(8)
    config = transformer.config
    found = convert_sd3_transformer_checkpoint_to_diffusers(
        checkpoint,
        num_layers=config.num_layers,
        caption_projection_dim=config.caption_projection_dim,
        dual_attention_layers=config.dual_attention_layers,
        has_qk_norm=True,
    )
    for layer in native_layers(config):
        assert torch.equal(found[f"{layer}.weight"], weights[f"{layer}.weight"]), layer


def test_every_linear_layer_is_mapped(transformer: SD3Transformer2DModel) -> None:
    mapped = SD3.native_layers(transformer.config).keys()
    linear = {n for n, part in transformer.named_modules() if isinstance(part, torch.nn.Linear)}
    assert linear <= mapped
    assert mapped <= {name for name, _ in transformer.named_modules()}
