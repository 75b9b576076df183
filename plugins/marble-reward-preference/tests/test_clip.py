from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import CLIPModel

from marble_reward_preference.clip import Clip, load_clip
from marble_reward_preference.preprocessing import crop_bilinear


@pytest.fixture(scope="module")
def clip(clip_folder: Path) -> Clip:
    return load_clip(clip_folder, "fp32", "cpu")


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """One entry for each time that a CLIP model is read."""
    seen: list[Any] = []
    read = CLIPModel.from_pretrained

    def watched(folder: Any, **options: Any) -> Any:
        seen.append(folder)
        return read(folder, **options)

    monkeypatch.setattr(CLIPModel, "from_pretrained", watched)
    return seen


@pytest.fixture
def encoded(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """How many texts of how many tokens went through the text tower, call by call."""
    seen: list[tuple[int, ...]] = []
    with clip.model.use() as module:
        encode = module.get_text_features

        def watched(**inputs: Tensor) -> Any:
            seen.append(tuple(inputs["input_ids"].shape))
            return encode(**inputs)

        monkeypatch.setattr(module, "get_text_features", watched)
    return seen


def test_embeddings_are_unit_vectors_in_float32(
    clip: Clip, images: Tensor, prompts: list[str]
) -> None:
    assert (clip.image_size, clip.width) == (32, 24)
    for vectors in (clip.embed_images(crop_bilinear(images, 32)), clip.embed_prompts(prompts)):
        assert vectors.shape == (6, 24)
        assert vectors.dtype == torch.float32
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(6))


def test_cosines_and_logits_are_the_models_own(
    clip: Clip, clip_folder: Path, images: Tensor, prompts: list[str]
) -> None:
    pixels = crop_bilinear(images, 32)
    with clip.model.use() as module, torch.no_grad():
        tokens = clip_tokens(clip_folder, prompts)
        square = module(pixel_values=pixels, **tokens).logits_per_image
    torch.testing.assert_close(clip.logits(pixels, prompts), square.diagonal())
    cosines = clip.cosines(pixels, prompts)
    torch.testing.assert_close(100 * cosines, square.diagonal(), atol=1e-3, rtol=1e-4)


def clip_tokens(folder: Path, prompts: list[str]) -> Any:
    """Padded only as far as the longest, as PickScore is published."""
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(folder)
    return tokenizer(prompts, padding=True, truncation=True, max_length=40, return_tensors="pt")


def test_a_prompt_is_encoded_once(
    clip: Clip, encoded: list[tuple[int, ...]], prompts: list[str]
) -> None:
    assert len(set(prompts)) == 5
    embeddings = clip.embed_prompts(prompts * 4)
    assert encoded == [(5, 40)]
    assert torch.equal(embeddings[0], embeddings[2])
    one_by_one = torch.cat([clip.embed_prompts([prompt]) for prompt in prompts])
    torch.testing.assert_close(embeddings[:6], one_by_one)
    assert encoded[1:] == [(1, 40)] * 6


def test_a_prompt_is_read_as_far_as_the_model_goes(clip: Clip) -> None:
    short, longer = "x " * 38, "x " * 38 + "and a dog"
    one, two = clip.embed_prompts([short, longer])
    assert torch.equal(one, two)
    assert not torch.equal(one, clip.embed_prompts(["x " * 20])[0])


def test_the_empty_prompt_has_an_embedding(clip: Clip) -> None:
    assert clip.embed_prompts([""]).isfinite().all()


def test_an_old_configuration_pools_at_the_end_of_text_too(
    clip: Clip, broken: Callable[[str], Path], prompts: list[str]
) -> None:
    # CLIP's published configurations give 2 for the end of text, which it isn't.
    folder = broken("clipscore")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["eos_token_id"] = 2
    (folder / "config.json").write_text(json.dumps(config))
    old = load_clip(folder, "fp32", "cpu")
    torch.testing.assert_close(old.embed_prompts(prompts), clip.embed_prompts(prompts))


def test_clipscore_and_aesthetic_read_one_model(
    build: Callable[..., Any], loads: list[Any]
) -> None:
    first, second = build("clipscore", dtype="fp16"), build("aesthetic", dtype="fp16")
    assert len(loads) == 1
    third = build("clipscore", dtype="bf16")
    assert len(loads) == 2
    del first, second, third
    again = build("clipscore", dtype="fp16")
    assert len(loads) == 3
    del again


def test_the_learned_scale_is_never_rounded(
    clip: Clip, clip_folder: Path, images: Tensor, prompts: list[str]
) -> None:
    half = load_clip(clip_folder, "bf16", "cpu")
    pixels = crop_bilinear(images, 32)
    cosines, logits = half.cosines(pixels, prompts), half.logits(pixels, prompts)
    # In bfloat16, exp(4.6052) would be 98.9.
    torch.testing.assert_close(logits / cosines, torch.full((6,), 100.0), atol=0.01, rtol=0)
    with half.model.use() as module:
        assert module.visual_projection.weight.dtype == torch.bfloat16
