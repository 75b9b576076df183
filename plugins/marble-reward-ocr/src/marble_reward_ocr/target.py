"""Which text a prompt asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_STRAIGHT = re.compile(r'"([^"]*)"')
_CURLY = re.compile("\u201c([^\u201d]*)\u201d")


def target_text(prompt: str, metadata: Mapping[str, Any]) -> str | None:
    """The text to be written, or None if the prompt asks for none.

    It is the metadata field ``target_text`` where that holds text; else what stands in the first
    pair of straight double quotes, as published (DiffusionNFT); else, which is ours, in the first
    pair of curly ones. Blank text counts as none.
    """
    given = metadata.get("target_text")
    if isinstance(given, str) and given.strip():
        return given
    quoted = _STRAIGHT.search(prompt) or _CURLY.search(prompt)
    return quoted[1] if quoted and quoted[1].strip() else None
