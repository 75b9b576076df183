"""``--set KEY=VALUE``: set one field of a recipe that was read as a table."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

from marblecli.errors import Problem
from marblecli.runs.toml_values import parse_value


def apply_override(table: dict[str, Any], text: str) -> list[Problem]:
    """Set the field that ``text`` (``key=value``, the key dotted) names, in place.

    Tables on the way to it are made. Returns what is wrong with ``text``; nothing is set then.
    """
    key, equals, value = text.partition("=")
    parts = _keys(key) if equals else []
    if not parts:
        return [Problem(f"--set {text}", "expected KEY=VALUE with a dotted key")]
    for depth, part in enumerate(parts[:-1], start=1):
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            return [Problem(f"--set {text}", f"{'.'.join(parts[:depth])} is no table")]
    table[parts[-1]] = parse_value(value)
    return []


def _keys(dotted: str) -> list[str]:
    """The parts of a dotted key, read by TOML's own rules; none if it isn't one."""
    try:
        return list(_chain(tomllib.loads(f"{dotted} = 0")))
    except tomllib.TOMLDecodeError:
        return []


def _chain(parsed: Any) -> Iterator[str]:
    while isinstance(parsed, dict) and parsed:
        key, *_ = parsed
        yield key
        parsed = parsed[key]
