"""JSON and JSON lines that any reader takes: they hold no NaN, and a line cut short is dropped."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marblecli.errors import BadInputError
from marblecli.runs.atomic import write_text
from marblecli.runs.schema import KEY, check_schema
from marblecli.types import Json


def to_json(value: Json, *, indent: int | None = None) -> str:
    """JSON text; floats that aren't finite become null."""
    return json.dumps(finite(value), allow_nan=False, ensure_ascii=False, indent=indent)


def finite(value: Json) -> Json:
    """The same value with None in place of every float that isn't finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def append_line(path: Path, value: Json) -> None:
    """Append one line in one write; a failed write (OSError) leaves the file as it was."""
    line = (to_json(value) + "\n").encode()
    with path.open("ab", buffering=0) as file:
        size = file.tell()
        try:
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            file.truncate(size)
            raise


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Every line of the file, none if it is absent; a last line that was cut short is left out.

    Raises BadInputError, which names the line, if another line is broken or of a newer version.
    """
    if not path.exists():
        return []
    *lines, _cut_short = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return [_parse(line, path, number) for number, line in enumerate(lines, start=1)]


def keep_until(path: Path, step: int) -> None:
    """Drop the lines of later steps, and a last line that was cut short."""
    kept = [line for line in read_lines(path) if line["step"] <= step]
    if path.exists():
        write_text(path, "".join(to_json(line) + "\n" for line in kept))


def _parse(line: str, path: Path, number: int) -> dict[str, Any]:
    place = f", line {number}"
    try:
        value = json.loads(line)
    except ValueError as error:
        raise BadInputError(f"{path}{place}: isn't JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadInputError(f'{path}{place}: expected an object with a whole "step"')
    check_schema(value.get(KEY), path, place)
    if not isinstance(value.get("step"), int):
        raise BadInputError(f'{path}{place}: expected an object with a whole "step"')
    return value
