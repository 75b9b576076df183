from __future__ import annotations

import pytest
from transformers import CLIPTextConfig, T5Config

from marblecli.models.architectures import shipped_architecture
from marblecli.models.hashed_words import HashedWords, clip_words, t5_words

PARTS = shipped_architecture("stabilityai/stable-diffusion-3.5-medium").parts


@pytest.fixture(scope="module")
def clip() -> HashedWords:
    return clip_words(CLIPTextConfig.from_dict(dict(PARTS["text_encoder"])))


@pytest.fixture(scope="module")
def t5() -> HashedWords:
    return t5_words(T5Config.from_dict(dict(PARTS["text_encoder_3"])))


def ids(tokenizer: HashedWords, text: str, length: int) -> list[int]:
    found = tokenizer(
        [text], padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    )
    rows: list[list[int]] = found.input_ids.tolist()
    return rows[0]


def test_a_prompt_stands_between_the_tokens_that_clip_expects(clip: HashedWords) -> None:
    found = ids(clip, "a Red square, on black", 77)
    # As CLIP's own: the last two of its vocabulary, the end also padding.
    assert (found[0], found[7], set(found[7:])) == (49406, 49407, {49407})
    assert len(clip) == clip.vocab_size == 49408
    assert clip.model_max_length == 77


def test_words_are_told_apart_and_case_is_not(clip: HashedWords) -> None:
    words = [f"word{number}" for number in range(200)]
    found = ids(clip, " ".join(words), 202)[1:-1]
    assert len(set(found)) > 195
    assert all(0 <= one < 49406 for one in found)
    assert ids(clip, "A Cat.", 8) == ids(clip, "a cat .", 8)
    assert ids(clip, "a cat", 8) != ids(clip, "a dog", 8)


def test_a_long_prompt_is_cut_before_its_end_token(clip: HashedWords) -> None:
    found = ids(clip, "x " * 100, 77)
    assert len(found) == 77
    assert found[-1] == 49407
    assert found[-2] < 49406


def test_the_same_word_has_the_same_id_everywhere(clip: HashedWords) -> None:
    # CRC-32 of the word, modulo the ordinary ids: no process's own hash.
    assert ids(clip, "square", 3)[1] == 12255


def test_a_newer_configurations_end_token_is_where_it_says() -> None:
    config = CLIPTextConfig(
        vocab_size=20, bos_token_id=0, eos_token_id=1, max_position_embeddings=6
    )
    found = ids(clip_words(config), "some words", 6)
    assert (found[0], found[3:]) == (0, [1, 1, 1])
    assert min(found[1:3]) > 1


def test_t5_ends_with_its_end_token_and_is_padded(t5: HashedWords) -> None:
    found = ids(t5, "a cat", 6)
    assert found[2:] == [1, 0, 0, 0]
    assert min(found[:2]) > 1
    assert len(t5) == 32128


def test_what_was_cut_off_can_be_shown(clip: HashedWords) -> None:
    rest = clip(["x " * 80], padding="longest", return_tensors="pt").input_ids
    assert clip.batch_decode(rest[:, 78:-1])
