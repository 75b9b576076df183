"""Pages: HTML files for people to open."""

from __future__ import annotations

from pathlib import Path

from marblecli.errors import BadInputError
from marblecli.runs.atomic import explaining_failure, write_text

REPORT_FILE = "report.html"
"""The page of a run, in its directory."""
CONFLICTS_FILE = "conflicts.html"
"""The page of ``marble inspect-conflicts``, in the directory of the run."""
COMPARISON_FILE = "comparison.html"
"""The page of several runs, in the working directory."""


def check_page(path: Path) -> None:
    """Raise BadInputError if no page can be written to ``path``."""
    if not path.parent.is_dir():
        raise BadInputError(f"{path}: no such folder: {path.parent}")
    if path.is_dir():
        raise BadInputError(f"{path} is a folder: give the name of a file")


def write_page(path: Path, text: str) -> None:
    """Write the page so that it is complete or absent.

    Raises BadInputError if there is no such folder, MarbleError if it can't be written.
    """
    check_page(path)
    with explaining_failure(path, "give another file"):
        write_text(path, text)
