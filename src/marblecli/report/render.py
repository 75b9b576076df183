"""Where the commands print."""

from __future__ import annotations

import os
import sys

from rich.console import Console

from marblecli.engine.processes import started_processes

_PIPE_WIDTH = 120
"""The width where there is no terminal to ask and COLUMNS isn't set."""


def _width(is_terminal: bool) -> int | None:
    return None if is_terminal or "COLUMNS" in os.environ else _PIPE_WIDTH


# The first process of a run prints for all of them.
_QUIET = not started_processes().first
out = Console(highlight=False, emoji=False, quiet=_QUIET, width=_width(sys.stdout.isatty()))
"""Where results go: stdout."""
log = Console(
    highlight=False, emoji=False, quiet=_QUIET, stderr=True, width=_width(sys.stderr.isatty())
)
"""Where everything else goes: stderr."""


def tell(text: str) -> None:
    """Print ``text`` on stderr as it is, without markup and without breaking its lines."""
    log.print(text, markup=False, soft_wrap=True)
