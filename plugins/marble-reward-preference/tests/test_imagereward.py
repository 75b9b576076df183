from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from transformers import BlipConfig, BlipTextModel, BlipVisionModel

from marble_reward_preference.checkpoints import part
from marble_reward_preference.imagereward import _BLIP_L, Blip, vision_to_transformers
from marble_reward_preference.linear_stack import linear_stack
from marble_reward_preference.preprocessing import crop_pil_bicubic
from marble_reward_preference.tokenizing import load_blip_tokenizer
from marblecli.errors import MarbleError

HEADS = 2


def blip_vision(weights: Mapping[str, Tensor], pixels: Tensor) -> Tensor:
    """BLIP's vision transformer as published: timm's, with layer norms of 1e-6."""

    def norm(x: Tensor, name: str) -> Tensor:
        scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return F.layer_norm(x, x.shape[-1:], scale, shift, eps=1e-6)

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    kernel = weights["patch_embed.proj.weight"]
    patches = F.conv2d(pixels, kernel, weights["patch_embed.proj.bias"], stride=kernel.shape[-1])
    x = patches.flatten(2).transpose(1, 2)
    x = torch.cat([weights["cls_token"].expand(len(x), -1, -1), x], dim=1) + weights["pos_embed"]
    for layer in range(2):
        block = f"blocks.{layer}"
        heads = linear(norm(x, f"{block}.norm1"), f"{block}.attn.qkv").unflatten(-1, (3, HEADS, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        x = x + linear(mixed, f"{block}.attn.proj")
        inner = F.gelu(linear(norm(x, f"{block}.norm2"), f"{block}.mlp.fc1"))
        x = x + linear(inner, f"{block}.mlp.fc2")
    return norm(x, "norm")


def test_it_is_the_published_computation(
    blip: Any,
    imagereward_folder: Path,
    build: Callable[..., Any],
    score: Callable[..., np.ndarray],
    images: Tensor,
    prompts: list[str],
) -> None:
    """One image at a time against all prompts, of which the diagonal is kept."""
    _, text, stack = blip
    published = torch.load(imagereward_folder / "ImageReward.pt", weights_only=True)
    tokens = load_blip_tokenizer(imagereward_folder, 195)(
        prompts, padding="max_length", truncation=True, max_length=35, return_tensors="pt"
    )
    array = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    pixels = crop_pil_bicubic([Image.fromarray(image) for image in array], 32)
    square = []
    with torch.no_grad():
        for image in pixels:
            seen = blip_vision(part(published, "blip.visual_encoder."), image[None])
            read = text(
                tokens["input_ids"],
                attention_mask=tokens["attention_mask"],
                encoder_hidden_states=seen.expand(6, -1, -1),
                encoder_attention_mask=torch.ones(6, seen.shape[1], dtype=torch.long),
            ).last_hidden_state[:, 0]
            square.append((stack(read)[:, 0] - 0.16717362830052426) / 1.0333394966054072)
    expected = torch.stack(square).diagonal().numpy()
    ours = score("imagereward", build("imagereward"), images, prompts)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


def test_every_weight_finds_its_place_at_full_size(
    publish_imagereward: Callable[..., dict[str, Tensor]],
) -> None:
    config = BlipConfig(**_BLIP_L)
    with torch.device("meta"):
        vision = BlipVisionModel(config.vision_config)
        text = BlipTextModel(config.text_config, add_pooling_layer=False)
        stack = linear_stack(768)
    parts = (vision, text, stack)
    assert sum(w.numel() for module in parts for w in module.parameters()) == 446_206_689
    # What no shape shows.
    assert [t.config.num_attention_heads for t in (text, vision)] == [12, 16]
    assert [t.config.layer_norm_eps for t in (text, vision)] == [1e-12, 1e-6]
    published = publish_imagereward(*parts)
    renamed = vision_to_transformers(part(published, "blip.visual_encoder."))
    assert renamed.keys() == vision.state_dict().keys()
    assert part(published, "mlp.layers.").keys() == stack.state_dict().keys()


@pytest.mark.parametrize(
    ("published", "ours"),
    [
        ("cls_token", "embeddings.class_embedding"),
        ("pos_embed", "embeddings.position_embedding"),
        ("patch_embed.proj.bias", "embeddings.patch_embedding.bias"),
        ("blocks.3.norm1.weight", "encoder.layers.3.layer_norm1.weight"),
        ("blocks.3.norm2.bias", "encoder.layers.3.layer_norm2.bias"),
        ("blocks.3.attn.qkv.weight", "encoder.layers.3.self_attn.qkv.weight"),
        ("blocks.3.attn.proj.weight", "encoder.layers.3.self_attn.projection.weight"),
        ("blocks.3.mlp.fc1.weight", "encoder.layers.3.mlp.fc1.weight"),
        ("norm.weight", "post_layernorm.weight"),
    ],
)
def test_names_of_the_vision_tower(published: str, ours: str) -> None:
    assert vision_to_transformers({published: torch.zeros(1)}).keys() == {ours}


def test_a_prompt_is_cut_at_35_tokens(
    build: Callable[..., Any], score: Callable[..., np.ndarray], images: Tensor
) -> None:
    scorer = build("imagereward")
    prompts = ["x " * 33, "x " * 33 + "y", "x " * 32]
    values = score("imagereward", scorer, images[[0, 0, 0]], prompts)
    # Float32 scores of the same tokens at other places of the batch: equal to a few roundings.
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    assert values[0] != pytest.approx(values[2], rel=1e-5)


def test_the_stack_is_float32_in_any_precision(imagereward_folder: Path) -> None:
    model = Blip(imagereward_folder / "ImageReward.pt", "bf16")
    assert model.stack[0].weight.dtype == torch.float32
    assert {w.dtype for w in model.text.parameters()} == {torch.bfloat16}


def test_half_a_checkpoint_is_refused(
    imagereward_folder: Path, broken: Callable[[str], Path]
) -> None:
    weights = torch.load(imagereward_folder / "ImageReward.pt", weights_only=True)
    folder = broken("imagereward")
    for prefix in ("blip.visual_encoder.blocks.1.", "blip.text_encoder.encoder.", "mlp."):
        kept = {name: w for name, w in weights.items() if not name.startswith(prefix)}
        torch.save(kept, folder / "ImageReward.pt")
        with pytest.raises(MarbleError, match=r"ImageReward\.pt"):
            Blip(folder / "ImageReward.pt", "fp32")
