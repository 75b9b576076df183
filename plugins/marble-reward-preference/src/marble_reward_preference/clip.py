"""CLIP's two towers: images and prompts to unit vectors of one space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from marble_reward_preference.checkpoints import DTYPES, load_transformer
from marble_reward_preference.shared import Lease, lease
from marble_reward_preference.tokenizing import load_clip_tokenizer


class Clip:
    """A CLIP model, perhaps shared, and its tokenizer. What comes out is float32 on the CPU."""

    def __init__(self, model: Lease, tokenizer: Any) -> None:
        self.model = model
        """Where it scores is ``model.device``."""
        self._tokenizer = tokenizer
        with model.use() as module:
            self.image_size = int(module.config.vision_config.image_size)
            """Side of the square images that it takes, in pixels."""
            self.width = int(module.config.projection_dim)
            """D, the dimension of the common space."""
            self._tokens = int(module.config.text_config.max_position_embeddings)

    def embed_images(self, pixels: Tensor) -> Tensor:
        """[B, 3, size, size], normalised -> [B, D] of norm 1."""
        with self.model.use() as module:
            weight = module.visual_projection.weight
            features = module.get_image_features(pixels.to(weight.device, weight.dtype))
            return _unit(features.pooler_output)

    def embed_prompts(self, prompts: Sequence[str]) -> Tensor:
        """B prompts -> [B, D] of norm 1; each different prompt is encoded once."""
        texts = list(dict.fromkeys(prompts))
        # Always padded to full length: the shape of what is computed is the same for any batch.
        inputs = self._tokenizer(
            texts,
            padding="max_length",
            truncation=True,
            max_length=self._tokens,
            return_tensors="pt",
        )
        with self.model.use() as module:
            features = module.get_text_features(**inputs.to(module.device))
            embeddings = _unit(features.pooler_output)
        place = {text: row for row, text in enumerate(texts)}
        return embeddings[[place[prompt] for prompt in prompts]]

    def cosines(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        """[B], of each image with its own prompt."""
        return (self.embed_images(pixels) * self.embed_prompts(prompts)).sum(-1)

    def logits(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        """[B], the cosines times the model's learned scale, about 100."""
        with self.model.use() as module:
            scale = float(module.logit_scale.exp())
        return scale * self.cosines(pixels, prompts)


def load_clip(folder: Path, dtype: str, device: str, tokenizer_folder: Path | None = None) -> Clip:
    """The CLIP model of a folder with ``config.json`` and ``model.safetensors``."""
    from transformers import CLIPModel

    return share_clip(
        ("clip", folder.resolve()),
        lambda: load_transformer(folder, CLIPModel),
        dtype,
        device,
        tokenizer_folder or folder,
    )


def share_clip(
    key: tuple[object, ...],
    load: Callable[[], nn.Module],
    dtype: str,
    device: str,
    tokenizer_folder: Path,
) -> Clip:
    """The CLIP model that ``load`` gives in float32, shared under ``key``, in its precision."""
    model = lease((*key, dtype), device, lambda: _in_precision(load(), dtype))
    with model.use() as module:
        entries = int(module.config.text_config.vocab_size)
    return Clip(model, load_clip_tokenizer(tokenizer_folder, entries))


def _in_precision(module: Any, dtype: str) -> nn.Module:
    scale = module.logit_scale.detach().clone()
    converted: nn.Module = module.to(DTYPES[dtype])
    # Rounded to bfloat16, it would change every score by a percent.
    module.logit_scale.data = scale
    return converted


def _unit(features: Tensor) -> Tensor:
    return F.normalize(features.float(), dim=-1).cpu()
