"""The last screen of a run: what it did, where its files are, and the next command."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from marblecli.report.render import out
from marblecli.report.summary import changes_table, verdict
from marblecli.types import RewardChange

_PLACES = {"pictures": "samples", "report": "report.html", "export": "export"}
"""What a run leaves for people, by what it is called on the screen."""


def show_end(directory: Path, changes: Mapping[str, tuple[RewardChange, ...]]) -> None:
    """Print the verdict, a table for each split, where everything is, and the next command.

    The verdict is on prompts that weren't trained on, if there are any.
    """
    if changes:
        split = list(changes)[-1]
        text = verdict(split, changes[split])
        out.print(text, markup=False, soft_wrap=not out.is_terminal)
    for split, found in changes.items():
        out.print(changes_table(split, found))
    places = {"run directory": directory}
    places |= {
        name: directory / place for name, place in _PLACES.items() if (directory / place).exists()
    }
    for name, path in places.items():
        out.print(f"{name}: {path}", markup=False, soft_wrap=True)
    command = shlex.join(["marble", "inspect-conflicts", str(directory)])
    out.print(f"next: {command}", markup=False, soft_wrap=True)
