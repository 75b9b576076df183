"""Run the cells that are missing, several at a time, and stop them so that all can go on."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Protocol

from marblecli.errors import BadInputError
from marblecli.lab.grid import Cell
from marblecli.lab.state import CellState, seconds_left, state_of
from marblecli.lab.workers import INTERRUPTED, Worker, describe, is_alive, threads_each
from marblecli.runs.lab_files import LabFiles, Running

_GLANCE = 0.2
"""Seconds between two looks at whether a cell has ended."""
_REDRAWN = 2.0
"""Seconds between two looks at how far the cells are."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Display(Protocol):
    """Who is told how the lab goes on."""

    def began(self, state: CellState) -> None:
        """A cell was started, or is resumed."""

    def ended(self, cell: Cell, code: int) -> None:
        """A cell has ended with this exit code."""

    def progress(
        self, states: Sequence[CellState], running: Sequence[Cell], left: float | None
    ) -> None:
        """How far all cells are, which of them run, and the seconds left if they are known."""

    def stopping(self) -> None:
        """The user has asked to stop; the cells save what they have."""


@dataclass
class Outcome:
    """How the cells ended."""

    failed: dict[str, int] = field(default_factory=dict)
    """The exit code of each cell that failed, by its name."""
    interrupted: bool = False
    """Whether cells are left that weren't finished, because somebody stopped them."""


def run_cells(cells: Sequence[Cell], files: LabFiles, jobs: int, display: Display) -> Outcome:
    """Train every cell that isn't finished, ``jobs`` at a time; those that were begun go on.

    A cell that fails doesn't keep the others from being trained. At the first Ctrl-C or SIGTERM all
    cells save and stop; at the second, they are ended at once.

    Raises BadInputError if this lab, or a cell of it, is being run by another process.
    """
    check_free(files)
    files.make()
    states = {cell.name: state_of(cell) for cell in cells}
    fleet = _Fleet(files, jobs, display, states)
    try:
        with _asked() as asked:
            fleet.run(asked)
    finally:
        fleet.kill()
        files.say_running(None)
    return fleet.outcome


def check_free(files: LabFiles) -> None:
    """Raise BadInputError if the lab, or one of its cells, is still being run on this machine."""
    running = files.running()
    if running is None:
        return
    there = {"the lab": running.runner, **running.cells}
    alive = [f"{name} (process {each.pid})" for name, each in there.items() if is_alive(each)]
    if alive:
        raise BadInputError(
            f"{files.folder} is being run: {', '.join(alive)}; look with --status, or stop it with "
            f"`kill -INT {running.runner.pid}`"
        )


class _Fleet:
    """The cells that wait, and those that run."""

    def __init__(
        self, files: LabFiles, jobs: int, display: Display, states: dict[str, CellState]
    ) -> None:
        self._files, self._jobs, self._display, self._states = files, jobs, display, states
        self._waiting = deque(name for name, state in states.items() if not state.finished)
        self._workers: list[Worker] = []
        self._told = 0.0
        self._threads = threads_each(jobs)
        self.outcome = Outcome()

    def run(self, asked: Callable[[], int]) -> None:
        """Until all have ended, or ``asked`` says that the user has asked to stop so many times."""
        stopped = False
        while self._waiting or self._workers:
            if asked() and not stopped:
                stopped = True
                self._stop()
            if asked() > 1:
                self.kill()
            self._start()
            self._collect()
            self._tell()
            time.sleep(_GLANCE)

    def kill(self) -> None:
        """End all cells at once."""
        for worker in self._workers:
            worker.kill()

    def _stop(self) -> None:
        self._display.stopping()
        self.outcome.interrupted = True
        self._waiting.clear()
        for worker in self._workers:
            worker.stop()

    def _start(self) -> None:
        while self._waiting and len(self._workers) < self._jobs:
            state = self._states[self._waiting.popleft()]
            self._files.clear_unstarted(state.cell.directory)
            self._workers.append(Worker(state, self._files, self._threads))
            self._display.began(state)
            self._say()

    def _collect(self) -> None:
        for worker in list(self._workers):
            code = worker.ended()
            if code is None:
                continue
            self._workers.remove(worker)
            self._states[worker.cell.name] = state_of(worker.cell)
            self._say()
            if code == INTERRUPTED or (code and self.outcome.interrupted):
                self.outcome.interrupted = True
            elif code:
                self.outcome.failed[worker.cell.name] = code
            self._display.ended(worker.cell, code)

    def _say(self) -> None:
        cells = {worker.cell.name: worker.process for worker in self._workers}
        self._files.say_running(Running(describe(os.getpid()), cells))

    def _tell(self) -> None:
        if time.monotonic() < self._told:
            return
        self._told = time.monotonic() + _REDRAWN
        running = [worker.cell for worker in self._workers]
        for cell in running:
            self._states[cell.name] = state_of(cell)
        states = tuple(self._states.values())
        self._display.progress(states, running, seconds_left(states, self._jobs))


@contextmanager
def _asked() -> Iterator[Callable[[], int]]:
    """How many times the user has asked to stop."""
    signals: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        signals.append(number)

    previous = {number: signal.signal(number, ask) for number in _SIGNALS}
    try:
        yield lambda: len(signals)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
