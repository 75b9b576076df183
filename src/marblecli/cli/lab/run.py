"""What ``marble lab`` does, once its options have been read."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from marblecli.errors import BadInputError, InterruptedRunError, MarbleError
from marblecli.lab.grid import Cell, make_cells
from marblecli.lab.recipe import LabRecipe, load_lab
from marblecli.report.render import out
from marblecli.runs.lab_files import LabFiles

_LINES = 3
"""Of a failed cell's log, that are shown."""


@dataclass(frozen=True)
class OpenLab:
    """A lab recipe that was read, and where its cells are."""

    source: Path
    recipe: LabRecipe
    files: LabFiles
    cells: tuple[Cell, ...]
    overrides: tuple[str, ...]
    jobs: int

    def arguments(self, *options: str) -> tuple[str, ...]:
        """The arguments of ``marble`` that open the same lab."""
        sets = (word for override in self.overrides for word in ("--set", override))
        folder = str(self.files.folder)
        jobs = () if self.jobs == 1 else ("--jobs", str(self.jobs))
        return ("lab", str(self.source), "--lab-dir", folder, *sets, *jobs, *options)

    def command(self, *options: str) -> str:
        """The command that opens the same lab, as one types it."""
        return shlex.join(["marble", *self.arguments(*options)])


def open_lab(source: Path, folder: Path | None, overrides: Sequence[str], jobs: int) -> OpenLab:
    """Read the lab recipe. Raises BadInputError, with all of its faults."""
    recipe = load_lab(source)
    files = LabFiles(folder or Path("runs") / f"lab-{source.stem}")
    cells = make_cells(recipe, files.folder, overrides)
    return OpenLab(source, recipe, files, cells, tuple(overrides), jobs)


def show_commands(lab: OpenLab) -> None:
    """Print the command of each cell: independent commands, one a line."""
    for cell in lab.cells:
        out.print(cell.command, markup=False, soft_wrap=True)


def show_status(lab: OpenLab) -> None:
    """Print how far each cell is, and who is training them."""
    from marblecli.cli.lab.status import show

    show(lab.cells, lab.files, lab.jobs)


def write_report(lab: OpenLab) -> None:
    """Compare what is finished."""
    from marblecli.cli.lab.report import report

    report(lab.recipe, lab.cells, lab.files)


def run_one(lab: OpenLab, number: int) -> None:
    """Train one cell, or continue it, in the place of this process; nothing if it is finished."""
    from marblecli.lab.state import state_of
    from marblecli.lab.workers import become, threads_each

    if number >= len(lab.cells):
        raise BadInputError(
            f"--cell {number}: there are the cells 0 to {len(lab.cells) - 1}; see them with --list"
        )
    cell = lab.cells[number]
    state = state_of(cell)
    if state.finished:
        out.print(f"{cell.name} is finished", markup=False)
        return
    lab.files.make()
    lab.files.clear_unstarted(cell.directory)
    become(cell.resume if state.started else cell.train, threads_each(lab.jobs))


def run_in_background(lab: OpenLab) -> None:
    """Check everything, then train apart from the terminal."""
    from marblecli.cli.lab.check import check
    from marblecli.lab.running import check_free
    from marblecli.lab.workers import detach

    check_free(lab.files)
    check(lab.source, lab.recipe, lab.cells)
    lab.files.make()
    process = detach(lab.arguments(), lab.files)
    for line in (
        f"training in the background, as process {process.pid}",
        f"log: {lab.files.log}",
        f"look: {lab.command('--status')}",
        f"stop: kill -INT {process.pid}",
    ):
        out.print(line, markup=False, soft_wrap=True)


def run_all(lab: OpenLab) -> None:
    """Train what is missing, then compare.

    Raises InterruptedRunError if cells were stopped, MarbleError if some failed.
    """
    from marblecli.cli.lab.check import check
    from marblecli.cli.lab.progress import CellsDisplay
    from marblecli.lab.running import check_free, run_cells

    check_free(lab.files)
    check(lab.source, lab.recipe, lab.cells)
    out.print(f"lab directory: {lab.files.folder}", markup=False, soft_wrap=True)
    with CellsDisplay(len(lab.cells)) as display:
        outcome = run_cells(lab.cells, lab.files, lab.jobs, display)
    if outcome.interrupted:
        raise InterruptedRunError(f"interrupted; every cell can go on\ngo on with: {lab.command()}")
    failed = [_failure(lab.files, *each) for each in outcome.failed.items()]
    if failed:
        # The others are compared all the same, if there are any.
        with suppress(BadInputError):
            write_report(lab)
        raise MarbleError(
            "\n".join([*failed, f"try the cells that failed again with: {lab.command()}"])
        )
    write_report(lab)


def _failure(files: LabFiles, name: str, code: int) -> str:
    log = files.cell_log(name)
    said = files.tail(log, _LINES)
    return f"{name} has failed (exit code {code}), see {log}:{os.linesep}{said}"
