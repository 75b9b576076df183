from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from marble_reward_preference.checkpoints import part
from marble_reward_preference.hpsv2 import _VIT_H_14, clean, load_hps, to_transformers
from marble_reward_preference.preprocessing import pad_bicubic
from marblecli.errors import MarbleError

HEADS = 2


def blocks(weights: Mapping[str, Tensor], x: Tensor, mask: Tensor | None) -> Tensor:
    """open_clip's residual blocks, on torch's own attention, whose naming they have."""
    count = len({name.split(".")[0] for name in weights})
    for layer in range(count):
        block = part(weights, f"{layer}.")
        width = x.shape[-1]
        attention = nn.MultiheadAttention(width, HEADS, batch_first=True)
        attention.load_state_dict(part(block, "attn."))
        y = F.layer_norm(x, (width,), block["ln_1.weight"], block["ln_1.bias"])
        x = x + attention(y, y, y, need_weights=False, attn_mask=mask)[0]
        y = F.layer_norm(x, (width,), block["ln_2.weight"], block["ln_2.bias"])
        y = F.gelu(F.linear(y, block["mlp.c_fc.weight"], block["mlp.c_fc.bias"]))
        x = x + F.linear(y, block["mlp.c_proj.weight"], block["mlp.c_proj.bias"])
    return x


def open_clip_image(weights: Mapping[str, Tensor], pixels: Tensor) -> Tensor:
    visual = part(weights, "visual.")
    kernel = visual["conv1.weight"]
    patches = F.conv2d(pixels, kernel, stride=kernel.shape[-1]).flatten(2).transpose(1, 2)
    start = visual["class_embedding"].expand(len(pixels), 1, -1)
    x = torch.cat([start, patches], dim=1) + visual["positional_embedding"]
    x = F.layer_norm(x, x.shape[-1:], visual["ln_pre.weight"], visual["ln_pre.bias"])
    x = blocks(part(visual, "transformer.resblocks."), x, None)[:, 0]
    x = F.layer_norm(x, x.shape[-1:], visual["ln_post.weight"], visual["ln_post.bias"])
    return F.normalize(x @ visual["proj"], dim=-1)


def open_clip_text(weights: Mapping[str, Tensor], tokens: Tensor) -> Tensor:
    """Tokens padded with zeros, the pooling where the number is highest: at the end of text."""
    length = tokens.shape[1]
    x = weights["token_embedding.weight"][tokens] + weights["positional_embedding"]
    mask = torch.full((length, length), -torch.inf).triu(1)
    x = blocks(part(weights, "transformer.resblocks."), x, mask)
    x = F.layer_norm(x, x.shape[-1:], weights["ln_final.weight"], weights["ln_final.bias"])
    x = x[torch.arange(len(x)), tokens.argmax(dim=-1)]
    return F.normalize(x @ weights["text_projection"], dim=-1)


@pytest.fixture(scope="module")
def weights(hps_folder: Path) -> dict[str, Tensor]:
    checkpoint = torch.load(hps_folder / "HPS_v2.1_compressed.pt", weights_only=True)
    return dict(checkpoint["state_dict"])


def test_it_is_open_clips_cosine(
    hps_folder: Path,
    weights: dict[str, Tensor],
    build: Callable[..., Any],
    score: Callable[..., np.ndarray],
    images: Tensor,
    prompts: list[str],
) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(hps_folder)
    tokens = torch.zeros(6, 40, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids = tokenizer(prompt, truncation=True, max_length=40)["input_ids"]
        tokens[row, : len(ids)] = torch.tensor(ids)
    with torch.no_grad():
        image = open_clip_image(weights, pad_bicubic(images, 32))
        text = open_clip_text(weights, tokens)
    expected = (image @ text.T).diagonal().numpy()
    ours = score("hpsv2", build("hpsv2"), images, prompts)
    np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-5)


def test_every_weight_finds_its_place_at_full_size(
    open_clip_shapes: Callable[[CLIPConfig], dict[str, tuple[int, ...]]],
) -> None:
    config = CLIPConfig(**_VIT_H_14)
    with torch.device("meta"):
        model = CLIPModel(config)
        published = {name: torch.empty(shape) for name, shape in open_clip_shapes(config).items()}
    assert sum(w.numel() for w in model.parameters()) == 986_109_441
    towers = (config.text_config, config.vision_config)
    # What no shape shows.
    assert [(tower.num_attention_heads, tower.hidden_act) for tower in towers] == [(16, "gelu")] * 2
    ours = {name: tuple(w.shape) for name, w in to_transformers(published).items()}
    assert ours == {name: tuple(w.shape) for name, w in model.state_dict().items()}


def test_queries_keys_and_values_are_split_in_that_order() -> None:
    matrix = torch.arange(18.0).reshape(9, 2)
    converted = to_transformers({"transformer.resblocks.7.attn.in_proj_weight": matrix})
    stem = "text_model.encoder.layers.7.self_attn."
    assert converted.keys() == {f"{stem}{part}_proj.weight" for part in "qkv"}
    for row, name in enumerate("qkv"):
        assert torch.equal(converted[f"{stem}{name}_proj.weight"], matrix[3 * row : 3 * row + 3])


def test_projections_are_transposed() -> None:
    matrix = torch.arange(6.0).reshape(2, 3)
    converted = to_transformers({"visual.proj": matrix, "text_projection": matrix})
    assert torch.equal(converted["visual_projection.weight"], matrix.T)
    assert torch.equal(converted["text_projection.weight"], matrix.T)


@pytest.mark.parametrize(
    ("prompt", "cleaned"),
    [
        ("a cat", "a cat"),
        ("salt &amp;amp; pepper", "salt & pepper"),
        ("&lt;b&gt;", "<b>"),
        # ftfy unescapes nothing where it sees a tag.
        ("<b> &amp;lt;", "<b> <"),
        ("caf\u00c3\u00a9", "caf\u00e9"),
        ("\u201cquoted\u201d", '"quoted"'),
    ],
)
def test_prompts_are_read_as_open_clip_reads_them(prompt: str, cleaned: str) -> None:
    assert clean(prompt) == cleaned


def test_the_cleaned_prompt_is_what_is_scored(
    build: Callable[..., Any], score: Callable[..., np.ndarray], images: Tensor
) -> None:
    scorer = build("hpsv2")
    raw = score("hpsv2", scorer, images[:2], ["salt &amp;amp; pepper", "caf\u00c3\u00a9"])
    clear = score("hpsv2", scorer, images[:2], ["salt & pepper", "caf\u00e9"])
    np.testing.assert_array_equal(raw, clear)


def test_a_checkpoint_without_its_entry_is_named(tmp_path: Path) -> None:
    torch.save({"model": {}}, tmp_path / "HPS_v2.1_compressed.pt")
    with pytest.raises(MarbleError, match="no entry state_dict"):
        load_hps(tmp_path)
