from __future__ import annotations

import pytest
import torch
from diffusers import StableDiffusion3Pipeline

from marble_reward_shapes.scenes import ALL_SCENES
from marble_reward_shapes.tiny_sd3.architecture import MAX_TOKENS, clip_tokenizer, silent_t5


@pytest.mark.parametrize("kind", ["count", "position"])
def test_every_word_of_the_grammar_is_one_token(kind: str) -> None:
    tokenizer = clip_tokenizer()
    for scene in ALL_SCENES[kind]:
        ids = tokenizer(scene.prompt)["input_ids"]
        assert len(ids) == len(scene.prompt.split()) + 2
        assert len(ids) <= MAX_TOKENS


def test_quoted_text_falls_to_its_letters() -> None:
    tokenizer = clip_tokenizer()
    for scene in ALL_SCENES["text"]:
        tokens = tokenizer.tokenize(scene.prompt)
        first, last = tokens.index('"</w>'), len(tokens) - tokens[::-1].index('"</w>') - 1
        assert "".join(tokens[first + 1 : last]) == scene.text.lower() + "</w>"
        assert last - first == 3


def test_the_t5_says_nothing() -> None:
    hidden = silent_t5()(torch.tensor([[1, 2, 3]])).last_hidden_state
    assert torch.equal(hidden, torch.zeros_like(hidden))


def test_different_prompts_have_different_tokens() -> None:
    tokenizer = clip_tokenizer()
    scenes = [scene for scenes in ALL_SCENES.values() for scene in scenes]
    ids = {tuple(tokenizer(scene.prompt)["input_ids"]) for scene in scenes}
    assert len(ids) == len(scenes)


def test_the_shipped_pipeline_is_of_this_architecture(
    shipped: StableDiffusion3Pipeline,
) -> None:
    assert shipped.tokenizer.get_vocab() == clip_tokenizer().get_vocab()
    assert shipped.transformer.config.num_layers == 4
    assert {part.dtype for part in (shipped.transformer, shipped.vae, shipped.text_encoder)} == {
        torch.float32
    }
