"""The processes of the cells: started apart from the terminal, told to stop, waited for."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence

import psutil

from marblecli.lab.state import CellState
from marblecli.runs.lab_files import LabFiles, Process

MARBLE = (sys.executable, "-m", "marblecli")
"""What ``marble`` is run by."""
INTERRUPTED = 130
"""The exit code of a cell that has saved its state and can go on."""


class Worker:
    """One cell that is being trained."""

    def __init__(self, state: CellState, files: LabFiles, threads: int) -> None:
        self.cell = state.cell
        arguments = self.cell.resume if state.started else self.cell.train
        with files.appending(files.cell_log(self.cell.name)) as log:
            # Ctrl-C reaches a terminal's whole group; a cell is told by us, and once.
            self._process = subprocess.Popen(  # noqa: S603 - it is this program
                [*MARBLE, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(threads),
                start_new_session=True,
            )
        self.process = describe(self._process.pid)

    def ended(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Ask it to save and stop."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, and wait until it has ended."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


def environment(threads: int) -> Mapping[str, str]:
    """A cell's environment: with as many threads, unless the user has set their number."""
    return {"OMP_NUM_THREADS": str(threads), **os.environ}


def threads_each(jobs: int) -> int:
    """The threads of a cell where ``jobs`` share this machine's processors."""
    return max((os.cpu_count() or 1) // jobs, 1)


def describe(pid: int) -> Process:
    """A process of this machine, by what no later one shares; started at 0 if it has ended."""
    try:
        started = psutil.Process(pid).create_time()
    except psutil.Error:
        started = 0.0
    return Process(pid, started, socket.gethostname())


def is_alive(process: Process) -> bool:
    """Whether it still runs; one of another machine is taken to have ended."""
    if process.host != socket.gethostname() or not process.started:
        return False
    try:
        found = psutil.Process(process.pid)
        same = abs(found.create_time() - process.started) < 1.0
        return same and bool(found.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def become(arguments: Sequence[str], threads: int) -> None:
    """Run ``marble ARGUMENTS`` in the place of this process: its signals and exit code are ours."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(MARBLE[0], [*MARBLE, *arguments], dict(environment(threads)))  # noqa: S606 - no shell


def detach(arguments: Sequence[str], files: LabFiles) -> Process:
    """Start ``marble ARGUMENTS`` apart from the terminal, with its output in the lab's log."""
    with files.appending(files.log) as log:
        started = subprocess.Popen(  # noqa: S603 - it is this program
            [*MARBLE, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return describe(started.pid)
