"""A model that is given as a folder must be there, in diffusers' layout, and of a known family."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from marblecli.errors import Problem
from marblecli.settings import Recipe


def is_missing(pretrained: str) -> bool:
    """Whether ``model.pretrained`` is a path at which there is no folder.

    Once the recipe's paths are resolved, whatever isn't absolute is a hub id.
    """
    path = Path(pretrained)
    return path.is_absolute() and not path.is_dir()


def check_folder(recipe: Recipe) -> Iterator[Problem]:
    """One problem if the model's folder isn't there."""
    value = recipe.model.pretrained
    if is_missing(value):
        message = f"no such folder, and no hub id (OWNER/NAME): {value}"
        yield Problem("model.pretrained", message)


_PARTS = {
    "model_index.json": "StableDiffusion3Pipeline",
    "transformer/config.json": "SD3Transformer2DModel",
}
"""Files of a folder in diffusers' layout, and the class that each must name."""


def check_layout(recipe: Recipe) -> Iterator[Problem]:
    """One problem if the model's folder holds another model, or none."""
    folder = Path(recipe.model.pretrained)
    message = _layout_fault(folder) if folder.is_absolute() and folder.is_dir() else ""
    if message:
        yield Problem("model.pretrained", message)


def _layout_fault(folder: Path) -> str:
    for name, wanted in _PARTS.items():
        try:
            config = json.loads((folder / name).read_text(encoding="utf-8"))
            found = config["_class_name"]
        except (OSError, ValueError, KeyError, TypeError):
            return f"no model in diffusers' layout: {folder} has no readable {name}"
        if found != wanted:
            return f"no Stable Diffusion 3: {folder / name} names {found}, not {wanted}"
    return ""
