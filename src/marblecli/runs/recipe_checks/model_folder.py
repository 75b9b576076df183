"""A model that is given as a folder must be there, in diffusers' layout, and of a known family."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from marblecli.errors import Problem
from marblecli.settings import Recipe

_PARTS = {
    "model_index.json": "StableDiffusion3Pipeline",
    "transformer/config.json": "SD3Transformer2DModel",
}
"""Files of a folder in diffusers' layout, and the class that each must name."""


def check_model(recipe: Recipe) -> Iterator[Problem]:
    """One problem if ``model.pretrained`` is a folder that holds no such model."""
    path = Path(recipe.model.pretrained)
    # What isn't absolute once paths are resolved is a hub id.
    message = _folder_fault(path) if path.is_absolute() else ""
    if message:
        yield Problem("model.pretrained", message)


def _folder_fault(folder: Path) -> str:
    if not folder.is_dir():
        return f"no such folder, and no hub id (OWNER/NAME): {folder}"
    for name, wanted in _PARTS.items():
        try:
            config = json.loads((folder / name).read_text(encoding="utf-8"))
            found = config["_class_name"]
        except (OSError, ValueError, KeyError, TypeError):
            return f"no model in diffusers' layout: {folder} has no readable {name}"
        if found != wanted:
            return f"no Stable Diffusion 3: {folder / name} names {found}, not {wanted}"
    return ""
