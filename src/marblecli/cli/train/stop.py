"""Ctrl-C while a run goes on: the first saves and stops, the second stops at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from marblecli.engine.processes import Processes
from marblecli.report.render import out


@contextmanager
def stop_on_signal(processes: Processes) -> Iterator[Callable[[], bool]]:
    """A function that says whether the loop is to save and stop.

    The first Ctrl-C or SIGTERM makes it true, and the second one stops at once. If there are
    several processes, it is also true once the launcher has ended.
    """
    asked: list[int] = []
    several, launcher = processes.count > 1, os.getppid()

    def ask(number: int, _frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        out.print("stopping; the last whole step will be saved (Ctrl-C again to stop at once)")

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked) or (several and os.getppid() != launcher)
    finally:
        for number, handler in previous.items():
            # When one process has ended, a launcher sends signals to the others. These must not end
            # them, because they may have to report an error.
            signal.signal(number, signal.SIG_IGN if several else handler)
