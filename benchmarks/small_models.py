"""Smaller models of SD3.5 Medium's classes, as folders of configurations without weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from marblecli.models.architectures import shipped_architecture
from marblecli.models.sd3.family import SD3

LARGER = "stabilityai/stable-diffusion-3.5-medium"
"""The model that they are made smaller than."""
SMALL = "small"
"""A model with about 100 million parameters in the transformer, for machines without a GPU."""
TINY = "tiny"
"""A model whose steps take a second, to rehearse a measurement."""

_CHANGES: dict[str, dict[str, dict[str, Any]]] = {
    SMALL: {
        "transformer": {
            "num_layers": 11,
            "num_attention_heads": 8,
            "caption_projection_dim": 512,
            "joint_attention_dim": 512,
            "pooled_projection_dim": 512,
            "pos_embed_max_size": 64,
            "dual_attention_layers": [0, 1, 2],
        },
        "vae": {"block_out_channels": [32, 64, 128, 128]},
        "text_encoder": {"num_hidden_layers": 4, "hidden_size": 256, "projection_dim": 256},
        "text_encoder_2": {"num_hidden_layers": 4, "hidden_size": 256, "projection_dim": 256},
        "text_encoder_3": {"num_layers": 4, "d_model": 512, "d_ff": 1024, "num_heads": 8},
        "scheduler": {},
    },
    TINY: {
        "transformer": {
            "num_layers": 3,
            "num_attention_heads": 2,
            "caption_projection_dim": 128,
            "joint_attention_dim": 64,
            "pooled_projection_dim": 64,
            "pos_embed_max_size": 16,
            "dual_attention_layers": [0],
        },
        "vae": {"block_out_channels": [32, 32, 32, 32]},
        "text_encoder": {"num_hidden_layers": 1, "hidden_size": 32, "projection_dim": 32},
        "text_encoder_2": {"num_hidden_layers": 1, "hidden_size": 32, "projection_dim": 32},
        "text_encoder_3": {"num_layers": 1, "d_model": 64, "d_ff": 64, "num_heads": 4},
        "scheduler": {},
    },
}
_CLASSES = {
    "transformer": ["diffusers", "SD3Transformer2DModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "text_encoder_3": ["transformers", "T5EncoderModel"],
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
}


def model_folder(name: str, folder: Path) -> str:
    """A folder of configurations inside ``folder`` for a small model; any other name as it is."""
    return str(_written(name, folder / f"{name}-sd3")) if name in _CHANGES else name


def _written(name: str, target: Path) -> Path:
    """SD3.5 Medium's configurations with fewer and narrower layers, in diffusers' layout."""
    if target.exists():
        return target
    shipped = shipped_architecture(LARGER)
    for part, file in SD3.spec.parts.items():
        config = {**shipped.parts[part], **_CHANGES[name][part]}
        if part in ("text_encoder", "text_encoder_2"):
            config |= {"num_attention_heads": 4, "intermediate_size": 4 * config["hidden_size"]}
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        (target / file).write_text(json.dumps(config))
    index = {"_class_name": "StableDiffusion3Pipeline", **_CLASSES}
    (target / "model_index.json").write_text(json.dumps(index))
    return target
