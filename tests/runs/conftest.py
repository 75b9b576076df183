"""What is shared by the tests of this room: see ``support/recipes.py``."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.recipes import write_recipe


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a recipe and everything that it names."""
    write_recipe(tmp_path)
    return tmp_path
