"""``marble lab RECIPE --status``: how far each cell is, and who is training them."""

from __future__ import annotations

from collections.abc import Sequence

from marblecli.cli.lab.progress import summary
from marblecli.lab.grid import Cell
from marblecli.lab.state import CellState, seconds_left, states_of
from marblecli.lab.workers import is_alive
from marblecli.report.render import out
from marblecli.report.tables import Column, Table
from marblecli.report.terminal import show as show_table
from marblecli.runs.lab_files import LabFiles, Running

_LINES = 3


def show(cells: Sequence[Cell], files: LabFiles, jobs: int) -> None:
    """Print a table of the cells, and what to do next."""
    states, running = states_of(cells), files.running()
    alive = running is not None and is_alive(running.runner)
    at_once = max(len(running.cells), 1) if running is not None and alive else jobs
    show_table(
        Table(
            title="The cells of the lab",
            columns=(
                Column("cell", "text"),
                Column("number", "count"),
                Column("state", "text"),
                Column("step", "count"),
                Column("of", "count"),
            ),
            rows=tuple(
                (s.cell.name, number, state_word(s, running), s.step, s.steps)
                for number, s in enumerate(states)
            ),
        )
    )
    lines = [summary(states, len(cells), seconds_left(states, at_once))]
    if running is not None and alive:
        lines.append(f"trained by process {running.runner.pid}")
        lines.append(f"stop: kill -INT {running.runner.pid}")
        if files.log.is_file():
            lines += [f"log: {files.log}", files.tail(files.log, _LINES)]
    for line in lines:
        out.print(line, markup=False, highlight=False, soft_wrap=True)


def state_word(state: CellState, running: Running | None) -> str:
    """One word for the state of a cell."""
    process = None if running is None else running.cells.get(state.cell.name)
    if state.finished:
        return "finished"
    if process is not None and is_alive(process):
        return "running"
    return "begun" if state.started else "waiting"
