"""Prompt files. A line is a prompt in ``.txt``, and a prompt with its metadata in ``.jsonl``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from marblecli.errors import BadInputError, show_value
from marblecli.types import Prompt

PROMPT_SUFFIXES = (".jsonl", ".txt")


def load_prompts(path: Path, source: str) -> tuple[Prompt, ...]:
    """Read the prompts of one source, in the file's order; blank lines are skipped.

    A ``.jsonl`` line is an object with the field ``prompt``; its other fields are metadata.
    Raises BadInputError if the file is missing, of another kind, empty, or has a broken line.
    """
    if path.suffix not in PROMPT_SUFFIXES:
        choices = " or ".join(PROMPT_SUFFIXES)
        raise BadInputError(f"{path}: prompts are read from {choices}, not {path.suffix!r}")
    lines = [(number, line.strip()) for number, line in _numbered_lines(path) if line.strip()]
    if not lines:
        raise BadInputError(f"{path}: holds no prompt; write one on each line")
    if path.suffix == ".txt":
        return tuple(Prompt(line, source) for _, line in lines)
    return tuple(_parse(line, f"{path}, line {number}", source) for number, line in lines)


def _numbered_lines(path: Path) -> list[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadInputError(f"{path}: can't read the prompts: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path}: isn't UTF-8 text (byte {error.start})") from error
    # Not splitlines(): it also splits at characters that may stand inside a prompt.
    return list(enumerate(text.split("\n"), start=1))


def _parse(line: str, place: str, source: str) -> Prompt:
    try:
        fields = json.loads(line, parse_constant=_refuse_constant)
    except ValueError as error:
        raise BadInputError(f"{place}: isn't JSON: {error}") from error
    if not isinstance(fields, Mapping):
        raise BadInputError(f"{place}: expected an object, got {show_value(fields)}")
    text: Any = fields.get("prompt")
    if not isinstance(text, str) or not text.strip():
        raise BadInputError(f'{place}: the field "prompt" must be text, got {show_value(text)}')
    metadata = {name: value for name, value in fields.items() if name != "prompt"}
    return Prompt(text.strip(), source, metadata)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
