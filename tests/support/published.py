"""The published network of a tiny transformer, by diffusers' conversion of single files.

It is the judge of what other tools make of a file: they add to the published network's weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from diffusers.loaders.single_file_utils import convert_sd3_transformer_checkpoint_to_diffusers
from torch import Tensor

from marblecli.models.configurations import Config
from marblecli.models.native import NativeLayer


def published_weights(
    weights: Mapping[str, Tensor], layers: Mapping[str, NativeLayer]
) -> dict[str, Tensor]:
    """The published linear weights [out, in] by name, from those of diffusers' layers."""
    pieces: dict[str, dict[int, Tensor]] = {}
    for layer, native in layers.items():
        weight = weights[f"{layer}.weight"]
        if native.swapped:
            weight = torch.cat(weight.chunk(2)[::-1])
        pieces.setdefault(native.name, {})[native.piece] = weight
    return {
        f"{name}.weight": torch.cat([parts[place] for place in sorted(parts)])
        for name, parts in pieces.items()
    }


def converted(published: Mapping[str, Tensor], config: Config) -> dict[str, Tensor]:
    """What diffusers makes of these parameters in a file of the published network."""
    checkpoint = {name: weight.clone() for name, weight in published.items()}
    for name, weight in published.items():
        if name.endswith(".bias") or ".ln_" in name:
            continue
        checkpoint.setdefault(name.replace(".weight", ".bias"), torch.zeros(len(weight)))
    checkpoint["pos_embed"] = torch.zeros(1)
    dual = config["dual_attention_layers"]
    blocks = range(config["num_layers"])
    streams = [f"{block}.{kind}_block.attn" for block in blocks for kind in ("x", "context")]
    for stream in (*streams, *(f"{block}.x_block.attn2" for block in dual)):
        for norm in ("ln_q", "ln_k"):
            checkpoint.setdefault(f"joint_blocks.{stream}.{norm}.weight", torch.ones(8))
    found: dict[str, Tensor] = convert_sd3_transformer_checkpoint_to_diffusers(
        checkpoint,
        num_layers=len(blocks),
        caption_projection_dim=config["caption_projection_dim"],
        dual_attention_layers=dual,
        has_qk_norm=True,
    )
    return found
