"""Paths of a recipe: relative to its folder where it is written, absolute once it is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def resolve_paths(table: dict[str, Any], folder: Path) -> None:
    """Make every path of the recipe's table absolute, in place; ``folder`` is the recipe's.

    Values that aren't text are left for the validation to name.
    """
    prompts = table.get("prompts")
    for source in prompts.values() if isinstance(prompts, Mapping) else ():
        for name in ("train", "eval"):
            _resolve(source, name, folder)
    model = table.get("model")
    _resolve(model, "embedding_cache", folder)
    if isinstance(model, dict):
        _resolve(model.get("lora"), "init", folder)
    if isinstance(model, dict) and isinstance(model.get("pretrained"), str):
        model["pretrained"] = _resolve_model(model["pretrained"], folder)


def _resolve(table: Any, key: str, folder: Path) -> None:
    if isinstance(table, dict) and isinstance(table.get(key), str):
        table[key] = str((folder / Path(table[key]).expanduser()).resolve())


def _resolve_model(value: str, folder: Path) -> str:
    """An absolute path where ``value`` is one or looks like one, else the hub id as it is."""
    path = folder / Path(value).expanduser()
    looks_like_path = value[:1] in {"", ".", "/", "~"} or not _HUB_ID.fullmatch(value)
    return str(path.resolve()) if looks_like_path or path.parent.is_dir() else value
