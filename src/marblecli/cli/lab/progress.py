"""Show how the cells of a lab go on: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from marblecli.cli.progress import Redrawn
from marblecli.lab.grid import Cell
from marblecli.lab.state import CellState
from marblecli.lab.workers import INTERRUPTED
from marblecli.report.render import out

_PAUSE = 60.0
"""Seconds between two lines about all cells where there is no terminal."""


class CellsDisplay(Redrawn):
    """Says which cells begin and end, how far all of them are, and the time left."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._states: Sequence[CellState] = ()
        self._running: Sequence[Cell] = ()
        self._left: float | None = None
        self._due = 0.0
        super().__init__(out, frames=2)

    def began(self, state: CellState) -> None:
        """Say that a cell was started, or goes on."""
        how = f"goes on after step {state.step}" if state.started else "begins"
        self._say(f"{state.cell.name} {how}")

    def ended(self, cell: Cell, code: int) -> None:
        """Say how a cell has ended."""
        how = {0: "is finished", INTERRUPTED: "is interrupted, and can go on"}
        self._say(f"{cell.name} {how.get(code, f'has failed (exit code {code})')}")

    def stopping(self) -> None:
        """Say that the cells are being stopped."""
        self._say("stopping; every cell saves its last whole step (Ctrl-C again to stop at once)")

    def progress(
        self, states: Sequence[CellState], running: Sequence[Cell], left: float | None
    ) -> None:
        """Show how far all cells are."""
        self._states, self._running, self._left = states, running, left
        if self._live is None and time.monotonic() >= self._due and running:
            self._due = time.monotonic() + _PAUSE
            self._say("; ".join([self._summary(), *map(_told, self._running_states())]))

    def _say(self, text: str) -> None:
        out.print(text, markup=False, highlight=False, soft_wrap=True)

    def _summary(self) -> str:
        return summary(self._states, self._count, self._left)

    def _running_states(self) -> list[CellState]:
        names = {cell.name for cell in self._running}
        return [state for state in self._states if state.cell.name in names]

    def _screen(self) -> RenderableType:
        grid = Table.grid(padding=(0, 2))
        for state in self._running_states():
            bar = ProgressBar(total=state.steps or 1, completed=state.step, width=20)
            grid.add_row(Text(state.cell.name), bar, Text(_steps(state)))
        return Group(grid, Text(self._summary()))


def summary(states: Sequence[CellState], count: int, left: float | None) -> str:
    """``3 of 8 cells are finished; 0:12:30 left``"""
    done = sum(state.finished for state in states)
    time_left = "" if left is None else f"; {timedelta(seconds=round(left))} left"
    return f"{done} of {count} cells are finished{time_left}"


def _told(state: CellState) -> str:
    return f"{state.cell.name} {_steps(state)}"


def _steps(state: CellState) -> str:
    return "loading" if state.steps is None else f"step {state.step} of {state.steps}"
