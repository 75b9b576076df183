from __future__ import annotations

from pathlib import Path

import pytest

from marble_reward_preference.tokenizing import load_blip_tokenizer, load_clip_tokenizer
from marblecli.errors import MarbleError


def test_a_folder_without_a_tokenizer_gives_none(tmp_path: Path) -> None:
    with pytest.raises(MarbleError, match=r"no file tokenizer\.json or vocab\.json"):
        load_clip_tokenizer(tmp_path, 514)
    with pytest.raises(MarbleError, match=r"no file tokenizer\.json or vocab\.txt"):
        load_blip_tokenizer(tmp_path, 195)


def test_a_tokenizer_of_another_size_is_refused(
    clip_folder: Path, imagereward_folder: Path
) -> None:
    with pytest.raises(MarbleError, match="has 514 tokens, the model 49408"):
        load_clip_tokenizer(clip_folder, 49408)
    with pytest.raises(MarbleError, match="has 195 tokens, the model 30524"):
        load_blip_tokenizer(imagereward_folder, 30524)


def test_clip_texts_begin_and_end(clip_folder: Path) -> None:
    tokenizer = load_clip_tokenizer(clip_folder, 514)
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("Ab  c")["input_ids"])
    assert tokens == ["<|startoftext|>", "a", "b</w>", "c</w>", "<|endoftext|>"]


def test_blips_two_tokens_come_after_berts(imagereward_folder: Path) -> None:
    tokenizer = load_blip_tokenizer(imagereward_folder, 195)
    assert tokenizer.convert_tokens_to_ids(["[DEC]", "[ENC]"]) == [193, 194]
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("A b [ENC]")["input_ids"])
    assert tokens == ["[CLS]", "a", "b", "[ENC]", "[SEP]"]
