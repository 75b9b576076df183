"""Where the commands print, and how numbers look."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from marblecli.engine.processes import started_processes
from marblecli.types import Json

_PIPE_WIDTH = 120
"""Columns where there's no terminal to ask, unless COLUMNS says otherwise."""


def _width(is_terminal: bool) -> int | None:
    return None if is_terminal or "COLUMNS" in os.environ else _PIPE_WIDTH


# Of the processes of a run the first speaks for all.
_QUIET = not started_processes().first
out = Console(highlight=False, emoji=False, quiet=_QUIET, width=_width(sys.stdout.isatty()))
"""Results: stdout."""
log = Console(
    highlight=False, emoji=False, quiet=_QUIET, stderr=True, width=_width(sys.stderr.isatty())
)
"""Everything else: stderr."""


def number(value: float | None, digits: int = 4) -> str:
    """``0.1234``, in scientific form where fixed digits would hide it; ``-`` for nothing."""
    if value is None or math.isnan(value):
        return "-"
    if value != 0.0 and not 10.0**-digits <= abs(value) < 10.0**6:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{digits}f}"


def cosine(value: float | None) -> str:
    """``+0.123``, red where negative; ``-`` for nothing."""
    if value is None or math.isnan(value):
        return "-"
    text = f"{value:+.3f}" if value == 0.0 or abs(value) >= 5e-4 else f"{value:+.0e}"
    return f"[red]{text}[/red]" if value < 0.0 else text


def share(value: float) -> str:
    """``12 %``; ``-`` for nothing."""
    return "-" if math.isnan(value) else f"{100.0 * value:.0f} %"


def table(title: str, first: str, columns: Iterable[str]) -> Table:
    """A table whose first column is text and whose others are numbers."""
    made = Table(title=title, title_justify="left")
    made.add_column(escape(first), overflow="fold")
    for column in columns:
        made.add_column(escape(column), justify="right", overflow="fold")
    return made


def or_none(value: float) -> Json:
    """A float as JSON has it: null where it isn't finite."""
    return value if math.isfinite(value) else None
