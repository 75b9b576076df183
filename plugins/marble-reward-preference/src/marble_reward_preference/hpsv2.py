"""HPSv2.1 (Wu et al., 2023, arXiv 2306.09341): the cosine of image and prompt to a tuned CLIP-H.

The checkpoint is open_clip's ViT-H-14; it is renamed into transformers' CLIPModel while loading.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from marble_reward_preference.checkpoints import load_transformer, read_checkpoint, rename
from marble_reward_preference.clip import share_clip
from marble_reward_preference.options import HpsOptions, folders
from marble_reward_preference.preprocessing import pad_bicubic
from marble_reward_preference.scorer import ModelScorer
from marblecli.errors import MarbleError

if TYPE_CHECKING:
    from marblecli.rewards import RewardBatch

CHECKPOINT = "HPS_v2.1_compressed.pt"

_VIT_H_14 = {
    "projection_dim": 1024,
    "text_config": {
        "vocab_size": 49408,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "max_position_embeddings": 77,
        "bos_token_id": 49406,
        "eos_token_id": 49407,
        "hidden_act": "gelu",
    },
    "vision_config": {
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "image_size": 224,
        "patch_size": 14,
        "hidden_act": "gelu",
    },
}
"""open_clip's model of that name."""

_RENAMED = (
    (r"^visual\.class_embedding$", "vision_model.embeddings.class_embedding"),
    (r"^visual\.positional_embedding$", "vision_model.embeddings.position_embedding.weight"),
    (r"^visual\.conv1\.", "vision_model.embeddings.patch_embedding."),
    (r"^visual\.ln_pre\.", "vision_model.pre_layrnorm."),
    (r"^visual\.ln_post\.", "vision_model.post_layernorm."),
    (r"^visual\.proj$", "visual_projection.weight"),
    (r"^visual\.transformer\.resblocks\.", "vision_model.encoder.layers."),
    (r"^token_embedding\.", "text_model.embeddings.token_embedding."),
    (r"^positional_embedding$", "text_model.embeddings.position_embedding.weight"),
    (r"^ln_final\.", "text_model.final_layer_norm."),
    (r"^text_projection$", "text_projection.weight"),
    (r"^transformer\.resblocks\.", "text_model.encoder.layers."),
    (r"\.ln_([12])\.", r".layer_norm\1."),
    (r"\.attn\.", ".self_attn."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
)
_TRANSPOSED = ("visual_projection.weight", "text_projection.weight")


class Hps(ModelScorer):
    """Scorer of float images."""

    def __init__(self, options: HpsOptions, device: str) -> None:
        model, tokenizer = folders(options)
        self._clip = share_clip(
            ("hpsv2", model.resolve()), lambda: load_hps(model), options.dtype, device, tokenizer
        )
        super().__init__(self._clip.model)

    def score(self, batch: RewardBatch) -> Tensor:
        pixels = pad_bicubic(batch.images.to(self._model.device), self._clip.image_size)
        return self._clip.cosines(pixels, [clean(prompt) for prompt in batch.prompts])


def clean(prompt: str) -> str:
    """The text as open_clip's tokenizer reads it: mojibake mended, HTML unescaped twice."""
    import ftfy

    return html.unescape(html.unescape(ftfy.fix_text(prompt)))


def load_hps(folder: Path) -> nn.Module:
    """The checkpoint of a folder as a transformers CLIPModel."""
    from transformers import CLIPModel

    path = folder / CHECKPOINT
    checkpoint = read_checkpoint(path)
    if "state_dict" not in checkpoint:
        raise MarbleError(f"{path} has no entry state_dict")
    return load_transformer(
        path,
        CLIPModel,
        config=_config(folder),
        state_dict=to_transformers(checkpoint["state_dict"]),
    )


def to_transformers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """open_clip's weights under transformers' names and in its shapes."""
    converted: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        converted |= _convert(rename(name, _RENAMED), tensor)
    return converted


def _convert(name: str, tensor: Tensor) -> dict[str, Tensor]:
    stem, in_projection, kind = name.partition("in_proj_")
    if in_projection:
        # Queries, keys and values lie in one matrix there.
        parts = zip("qkv", tensor.chunk(3), strict=True)
        return {f"{stem}{part}_proj.{kind}": piece for part, piece in parts}
    if name in _TRANSPOSED:
        return {name: tensor.T.contiguous()}
    return {name: tensor}


def _config(folder: Path) -> Any:
    """ViT-H-14, unless the folder says otherwise."""
    from transformers import CLIPConfig

    if (folder / "config.json").is_file():
        return CLIPConfig.from_pretrained(folder, local_files_only=True)
    return CLIPConfig(**_VIT_H_14)
