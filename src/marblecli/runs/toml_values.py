"""Values that a user types after ``=`` on the command line: TOML, or else plain text."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


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


def format_value(value: Any) -> str:
    """The value of a TOML file in one line, as :func:`parse_value` reads it."""
    if isinstance(value, Mapping):
        items = (f"{_key(name)} = {format_value(item)}" for name, item in value.items())
        return f"{{{', '.join(items)}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(format_value, value))}]"
    if isinstance(value, (str, bool)):
        # JSON's texts and booleans are TOML's, too.
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def dotted_values(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of the nested tables with its dotted key; an empty table is a value, too."""
    for name, value in table.items():
        # A key in quotes may be a dotted one itself: it is as on the command line.
        key = f"{prefix}{name if '.' in name else _key(name)}"
        if isinstance(value, Mapping) and value:
            yield from dotted_values(value, f"{key}.")
        else:
            yield key, value


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)
