"""Tokenizers from files; transformers makes an empty one where there are none, and says nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from marblecli.errors import MarbleError


def load_clip_tokenizer(folder: Path, entries: int) -> Any:
    """The CLIP tokenizer of a folder; MarbleError unless it has ``entries`` tokens."""
    from transformers import CLIPTokenizer

    _check_files(folder, ("tokenizer.json", "vocab.json"))
    tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    return _of_size(tokenizer, folder, entries)


def load_blip_tokenizer(folder: Path, entries: int) -> Any:
    """The BERT tokenizer of a folder and BLIP's two tokens; MarbleError unless ``entries``."""
    from transformers import BertTokenizer

    _check_files(folder, ("tokenizer.json", "vocab.txt"))
    tokenizer = BertTokenizer.from_pretrained(folder, local_files_only=True)
    tokenizer.add_tokens(["[DEC]", "[ENC]"], special_tokens=True)
    return _of_size(tokenizer, folder, entries)


def _check_files(folder: Path, names: Sequence[str]) -> None:
    if not any((folder / name).is_file() for name in names):
        raise MarbleError(f"{folder} has no file {' or '.join(names)}")


def _of_size(tokenizer: Any, folder: Path, entries: int) -> Any:
    if len(tokenizer) != entries:
        raise MarbleError(
            f"the tokenizer of {folder} has {len(tokenizer)} tokens, the model {entries}"
        )
    return tokenizer
