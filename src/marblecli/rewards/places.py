"""Where in a plugin's code an error comes from, and its whole traceback if the user asks for it."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Any

from marblecli.plugins import one_line

WHOLE = "MARBLE_TRACEBACK"
"""The environment variable that ``marble --traceback`` sets, also for the processes of a run."""
_OURS = Path(__file__).parents[1]


def describe_fault(error: BaseException, build: Any) -> str:
    """The error in one line, with the file and line of the plugin that it comes from.

    ``build`` is the plugin's function; its file says which code is the plugin's. If the user has
    asked for it, the whole traceback goes to stderr.
    """
    if os.environ.get(WHOLE):
        traceback.print_exception(error, file=sys.stderr)
    place = plugin_place(error, build)
    return f"{one_line(error)} ({place})" if place else one_line(error)


def plugin_place(error: BaseException, build: Any) -> str:
    """``FILE:LINE`` of the plugin's innermost frame; empty if there is none.

    Where no frame is of the plugin's folder, it is the innermost frame outside of marble.
    """
    frames = traceback.extract_tb(error.__traceback__)
    code = getattr(build, "__code__", None)
    folder = None if code is None else Path(code.co_filename).parent
    outside = [frame for frame in frames if not Path(frame.filename).is_relative_to(_OURS)]
    own = [frame for frame in outside if folder and Path(frame.filename).is_relative_to(folder)]
    chosen = (own or outside)[-1:]
    return "".join(f"{frame.filename}:{frame.lineno}" for frame in chosen)
