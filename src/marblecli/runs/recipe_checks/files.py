"""Prompt files must be there, and of a kind that can be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from marblecli.errors import Problem
from marblecli.runs.prompts import PROMPT_SUFFIXES
from marblecli.runs.recipe_checks.sound import FaultyFieldError
from marblecli.settings import Recipe


def check_files(recipe: Recipe) -> Iterator[Problem]:
    """One problem for each prompt file that is missing or of another kind."""
    for source, settings in recipe.prompts.items():
        for name in ("train", "eval"):
            with suppress(FaultyFieldError):
                path: Path | None = getattr(settings, name)
                message = "" if path is None else _fault(path)
                if message:
                    yield Problem(f"prompts.{source}.{name}", message)


def _fault(path: Path) -> str:
    if not path.is_file():
        return f"no such file: {path}"
    if path.suffix not in PROMPT_SUFFIXES:
        return f"must be {' or '.join(PROMPT_SUFFIXES)}: {path}"
    return ""
