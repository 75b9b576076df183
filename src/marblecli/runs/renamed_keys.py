"""Recipe keys that were renamed: old recipes are read as before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marblecli.errors import Problem

RENAMED_KEYS: Mapping[str, str] = {"training.anchor_share": "training.pull_share"}
"""The new key of each old one, both dotted."""


def use_new_keys(
    table: dict[str, Any], *, replace: bool, keys: Mapping[str, str] = RENAMED_KEYS
) -> tuple[list[str], list[Problem]]:
    """Move values from old ``keys`` to their new ones, in place.

    If a table has both, the old key's value replaces the new key's if ``replace``, and is a problem
    otherwise. Returns one line for each old key that was moved, and the problems.
    """
    notices, problems = [], []
    for old, new in keys.items():
        home, name = _home(table, old)
        if home is None or name not in home:
            continue
        new_home, new_name = _home(table, new, make=True)
        if new_home is None:
            continue
        if new_name in new_home and not replace:
            problems.append(Problem(old, f"is now {new}, which is set too; remove one of them"))
            del home[name]
            continue
        new_home[new_name] = home.pop(name)
        notices.append(f"{old} is now {new}")
    return notices, problems


def _home(
    table: dict[str, Any], dotted: str, *, make: bool = False
) -> tuple[dict[str, Any] | None, str]:
    """The table that has or would have the key, and the key's own name; None if there is none."""
    *tables, name = dotted.split(".")
    for part in tables:
        found = table.setdefault(part, {}) if make else table.get(part)
        if not isinstance(found, dict):
            return None, name
        table = found
    return table, name
