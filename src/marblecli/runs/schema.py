"""The version of a run directory's files: each of them says ``schema = 1``.

A file without it was written before there was one and is read as version 1. A file of a newer
version is refused, with the version that wrote it and how to upgrade.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from marblecli.errors import BadInputError, show_value
from marblecli.types import Json

SCHEMA = 1
"""What this version writes, and the newest that it reads."""
KEY = "schema"


def stamped(value: Mapping[str, Json]) -> dict[str, Json]:
    """The same object with its schema as the first key."""
    return {KEY: SCHEMA, **value}


def check_schema(found: Json, path: Path, place: str = "") -> None:
    """Raise BadInputError if ``found``, the schema that ``path`` says, can't be read.

    ``found`` is None where the file says none; ``place`` is where in the file, for the message.
    """
    if found is None:
        return
    where = f"{path}{place}"
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise BadInputError(
            f"{where}: {KEY} must be a whole number above 0, got {show_value(found)}"
        )
    if found > SCHEMA:
        writer = _writer(path)
        raise BadInputError(
            f"{where}: has schema {found}, written by {writer}, and marble "
            f"{version('marblecli')} reads schemas up to {SCHEMA}; upgrade it with: "
            "pip install --upgrade marblecli"
        )


def _writer(path: Path) -> str:
    """The version that wrote the run, as the nearest ``environment.json`` above ``path`` says."""
    for folder in path.absolute().parents[:3]:
        try:
            environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
            return f"marble {environment['packages']['marblecli']}"
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return "a newer version"
