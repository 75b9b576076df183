"""A tokenizer without a vocabulary file: every word is hashed to one of the encoder's ids.

For models with random weights, whose own vocabulary may be out of reach. The same word has the same
id in every run; two words share one as seldom as chance has it.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Any

from transformers import CLIPTextConfig, PreTrainedTokenizer, T5Config

_WORD = re.compile(r"\w+|[^\w\s]")
_LEGACY_END = 2
"""A CLIP configuration that names this end token pools at the largest id instead."""


@dataclass(frozen=True)
class SpecialTokens:
    """Ids that mean the same to every prompt."""

    start: int | None
    """What prompts begin with, if anything."""
    end: int
    padding: int


# transformers loads the class lazily, and so hides its type.
class HashedWords(PreTrainedTokenizer):  # type: ignore[misc]
    """Lower-case words and marks -> ids below ``size``, none of them special."""

    def __init__(self, size: int, special: SpecialTokens, **options: Any) -> None:
        self._special = special
        self._names = {special.end: "<end>"}
        self._names.setdefault(special.padding, "<pad>")
        if special.start is not None:
            self._names[special.start] = "<start>"
        self._words = [index for index in range(size) if index not in self._names]
        self._vocabulary = {self._names.get(index, f"<{index}>"): index for index in range(size)}
        super().__init__(
            bos_token=None if special.start is None else self._names[special.start],
            eos_token=self._names[special.end],
            pad_token=self._names[special.padding],
            **options,
        )

    @property
    def vocab_size(self) -> int:
        return len(self._vocabulary)

    def get_vocab(self) -> dict[str, int]:
        return dict(self._vocabulary)

    def _tokenize(self, text: str, **_: Any) -> list[str]:
        return _WORD.findall(text.lower())

    def _convert_token_to_id(self, token: str) -> int:
        if token in self._vocabulary:
            return self._vocabulary[token]
        return self._words[zlib.crc32(token.encode()) % len(self._words)]

    def _convert_id_to_token(self, index: int) -> str:
        return self._names.get(index, f"<{index}>")

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        start = [] if self._special.start is None else [self._special.start]
        return [*start, *token_ids_0, *(token_ids_1 or []), self._special.end]


def clip_words(config: CLIPTextConfig) -> HashedWords:
    """For a CLIP text encoder: as many tokens as it has places, pooled at the end token."""
    size, end = config.vocab_size, config.eos_token_id
    if end == _LEGACY_END:
        special = SpecialTokens(start=size - 2, end=size - 1, padding=size - 1)
    else:
        special = SpecialTokens(config.bos_token_id, end, padding=end)
    return HashedWords(size, special, model_max_length=config.max_position_embeddings)


def t5_words(config: T5Config) -> HashedWords:
    """For a T5 encoder: prompts end with its end token, and nothing opens them."""
    special = SpecialTokens(None, config.eos_token_id, config.pad_token_id)
    return HashedWords(config.vocab_size, special)
