"""ImageReward (Xu et al., 2023, arXiv 2304.05977): BLIP-L reads image and prompt together.

The first token of the text encoder, which attends to the image, goes through the linear stack;
the result is standardised with the published mean and deviation. The checkpoint is renamed into
transformers' BLIP while loading.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from marble_reward_preference.checkpoints import (
    DTYPES,
    load_transformer,
    part,
    read_checkpoint,
    rename,
)
from marble_reward_preference.linear_stack import load_stack
from marble_reward_preference.options import ImageRewardOptions, folders
from marble_reward_preference.preprocessing import crop_pil_bicubic
from marble_reward_preference.scorer import ModelScorer
from marble_reward_preference.shared import lease
from marble_reward_preference.tokenizing import load_blip_tokenizer

if TYPE_CHECKING:
    from marblecli.rewards import RewardBatch

CHECKPOINT = "ImageReward.pt"

_MEAN, _DEVIATION = 0.16717362830052426, 1.0333394966054072
_TOKENS = 35

_BLIP_L = {
    "text_config": {
        "vocab_size": 30524,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 512,
    },
    "vision_config": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 224,
        "patch_size": 16,
        # BLIP's own; transformers' default is 1e-5.
        "layer_norm_eps": 1e-6,
    },
}

_RENAMED = (
    (r"^cls_token$", "embeddings.class_embedding"),
    (r"^pos_embed$", "embeddings.position_embedding"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
    (r"^norm\.", "post_layernorm."),
    (r"^blocks\.", "encoder.layers."),
    (r"\.norm([12])\.", r".layer_norm\1."),
    (r"\.attn\.qkv\.", ".self_attn.qkv."),
    (r"\.attn\.proj\.", ".self_attn.projection."),
)
"""Of the vision tower; the text tower has the same names there and here."""


class ImageReward(ModelScorer):
    """Scorer of PIL images."""

    def __init__(self, options: ImageRewardOptions, device: str) -> None:
        model, tokenizer = folders(options)
        key = ("imagereward", model.resolve(), options.dtype)
        super().__init__(lease(key, device, lambda: Blip(model / CHECKPOINT, options.dtype)))
        with self._model.use() as blip:
            self._image_size = int(blip.config.vision_config.image_size)
            entries = int(blip.config.text_config.vocab_size)
        self._tokenizer = load_blip_tokenizer(tokenizer, entries)

    def score(self, batch: RewardBatch) -> Tensor:
        pixels = crop_pil_bicubic(batch.images, self._image_size)
        inputs = self._tokenizer(
            list(batch.prompts),
            padding="max_length",
            truncation=True,
            max_length=_TOKENS,
            return_tensors="pt",
        )
        with self._model.use() as blip:
            raw: Tensor = blip(pixels, inputs["input_ids"], inputs["attention_mask"])
        return (raw - _MEAN) / _DEVIATION


class Blip(nn.Module):
    """BLIP's vision and text towers and the linear stack, from a checkpoint as published.

    Raises MarbleError if the checkpoint holds anything else.
    """

    def __init__(self, path: Path, dtype: str) -> None:
        from transformers import BlipTextModel, BlipVisionModel

        super().__init__()
        weights, config = read_checkpoint(path), _config(path.parent)
        self.config = config
        self.vision: Any = load_transformer(
            path,
            BlipVisionModel,
            config=config.vision_config,
            state_dict=vision_to_transformers(part(weights, "blip.visual_encoder.")),
        )
        self.text: Any = load_transformer(
            path,
            BlipTextModel,
            config=config.text_config,
            state_dict=part(weights, "blip.text_encoder."),
            add_pooling_layer=False,
        )
        self.to(DTYPES[dtype])
        width = int(config.text_config.hidden_size)
        self.stack = load_stack(path, part(weights, "mlp.layers."), width)

    def forward(self, pixels: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """[B, 3, size, size] and [B, T] twice -> [B], before it is standardised."""
        device, dtype = self.vision.device, self.vision.dtype
        image = self.vision(pixels.to(device, dtype)).last_hidden_state
        text = self.text(
            tokens.to(device), attention_mask=mask.to(device), encoder_hidden_states=image
        ).last_hidden_state
        raw: Tensor = self.stack(text[:, 0].float())[:, 0]
        return raw


def vision_to_transformers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The vision tower's weights under transformers' names."""
    return {rename(name, _RENAMED): tensor for name, tensor in weights.items()}


def _config(folder: Path) -> Any:
    """BLIP-L, unless the folder says otherwise."""
    from transformers import BlipConfig

    if (folder / "config.json").is_file():
        return BlipConfig.from_pretrained(folder, local_files_only=True)
    return BlipConfig(**_BLIP_L)
