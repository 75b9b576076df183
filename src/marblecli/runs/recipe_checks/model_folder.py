"""A model that is given as a folder must be there."""

from __future__ import annotations

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
