"""The folder of a lab: who is running it, the cells' logs, and the results.

==================  ==========================================================
cells/              the run directory of each cell
logs/               what each cell has printed
lab.log             what a lab in the background has printed
running.json        the process that runs the lab, and those of its cells
lab.json            the comparison, for scripts
lab.md              its tables, as Markdown
report.html         the comparison on one page
==================  ==========================================================
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from marblecli.errors import BadInputError
from marblecli.runs.atomic import explaining_failure, remove, write_text
from marblecli.runs.json_lines import to_json
from marblecli.runs.schema import stamped
from marblecli.types import Json

_ADVICE = "give another --lab-dir"


@dataclass(frozen=True)
class Process:
    """A process that can't be taken for a later one of the same number."""

    pid: int
    started: float
    """When, in seconds since 1970."""
    host: str


@dataclass(frozen=True)
class Running:
    """Who runs a lab."""

    runner: Process
    cells: Mapping[str, Process]
    """By the cell's name."""


class LabFiles:
    """The files of one lab; every write is whole or absent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cells = folder / "cells"
        self.logs = folder / "logs"
        self.log = folder / "lab.log"
        self.page = folder / "report.html"
        self.json = folder / "lab.json"
        self.markdown = folder / "lab.md"
        self._running = folder / "running.json"

    def make(self) -> None:
        """Make the folders. Raises MarbleError if that fails."""
        for each in (self.cells, self.logs):
            with explaining_failure(each, _ADVICE):
                each.mkdir(parents=True, exist_ok=True)

    def cell_log(self, name: str) -> Path:
        """Where the output of a cell goes."""
        return self.logs / f"{name}.log"

    def clear_unstarted(self, directory: Path) -> None:
        """Delete what a cell left that was killed before it was a run."""
        if directory.is_dir() and not (directory / "recipe.toml").exists():
            with explaining_failure(directory, _ADVICE):
                remove(directory)

    @contextmanager
    def appending(self, path: Path) -> Iterator[IO[bytes]]:
        """A file of the folder, to append to."""
        with explaining_failure(path, _ADVICE):
            file = path.open("ab")
        with file:
            yield file

    def tail(self, path: Path, lines: int = 3) -> str:
        """The last lines of a log; empty if there is none."""
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(line for line in text.splitlines()[-lines:] if line.strip())

    def running(self) -> Running | None:
        """Who runs the lab, as far as that was written; they may have ended since."""
        try:
            found = json.loads(self._running.read_text(encoding="utf-8"))
            cells = {name: Process(**each) for name, each in found["cells"].items()}
            return Running(Process(**found["runner"]), cells)
        except OSError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            raise BadInputError(f"{self._running}: isn't whole: delete it") from error

    def say_running(self, running: Running | None) -> None:
        """Write who runs the lab; None for nobody."""
        with explaining_failure(self._running, _ADVICE):
            if running is None:
                remove(self._running)
            else:
                write_text(self._running, to_json(stamped(asdict(running)), indent=1))

    def write_results(self, document: Mapping[str, Json], markdown: str, page: str) -> None:
        """Write the comparison in its three forms."""
        texts = {
            self.json: to_json(stamped(document), indent=1),
            self.markdown: markdown,
            self.page: page,
        }
        for path, text in texts.items():
            with explaining_failure(path, _ADVICE):
                write_text(path, text)
