"""The results of the parts: one JSON file each, complete or absent."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from marblecli.runs.atomic import write_text

RUNNING, DONE, FAILED = "running", "done", "failed"


@dataclass(frozen=True)
class Result:
    """What is known of one part."""

    part: str
    state: str = RUNNING
    rehearsal: bool = False
    seconds: float = 0.0
    """Of the whole part, with its start."""
    reason: str | None = None
    """Why it failed."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    """What was measured, also by a part that failed later."""
    schema: int = 1


Note = Callable[[Mapping[str, Any]], None]
"""Keeps figures as soon as they are measured."""


def path_of(folder: Path, part: str) -> Path:
    """The part's file."""
    return folder / f"{part}.json"


def read_result(folder: Path, part: str) -> Result | None:
    """The part's result, if there is one."""
    path = path_of(folder, part)
    if not path.is_file():
        return None
    return Result(**json.loads(path.read_text(encoding="utf-8")))


def write_result(folder: Path, result: Result) -> None:
    """Write the part's file."""
    text = json.dumps(asdict(result), indent=2)
    write_text(path_of(folder, result.part), text + "\n")


def noting(folder: Path, result: Result) -> Note:
    """A function that adds figures to the part's file while it runs."""
    known = dict(result.figures)

    def note(figures: Mapping[str, Any]) -> None:
        known.update(figures)
        write_result(folder, replace(result, figures=dict(known)))

    return note
