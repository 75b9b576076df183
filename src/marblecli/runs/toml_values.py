"""Values that a user types after ``=`` on the command line: TOML, or else plain text."""

from __future__ import annotations

import tomllib
from typing import Any


def parse_value(text: str) -> Any:
    """The TOML value that ``text`` is, or else the text itself, without spaces around it.

    Words and paths therefore need no quotes: ``0.5`` is a number, ``[1, 2]`` a list, ``true`` a
    boolean, ``fr`` and ``"fr"`` the same text.
    """
    text = text.strip()
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    # A text with line breaks could hold more than one assignment.
    return table["value"] if len(table) == 1 else text
