"""Show what long work is going on, how fast it is, and how long it will still take.

A command wraps its work in :func:`showing_work`. On a terminal there is one line for each work that
goes on, redrawn in place. Elsewhere there are plain lines at a bounded rate: work of less than two
seconds isn't mentioned, and longer work is mentioned every half minute.
"""

from __future__ import annotations

import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from functools import partial
from typing import Self

from rich.console import Console, RenderableType
from rich.constrain import Constrain
from rich.filesize import decimal
from rich.live import Live
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from marblecli.errors import StopRequestedError
from marblecli.progress import Advance, listening
from marblecli.report.render import log

_FIRST = 2.0
"""Seconds after which work is mentioned where there is no terminal."""
_AGAIN = 30.0
"""Seconds between two lines about the same work."""
_FRAMES = 8
"""Pictures a second on a terminal."""


class Work:
    """Listens to long work, and shows it on a console.

    On a terminal it is a renderable for a live display; elsewhere it prints lines.
    """

    def __init__(self, console: Console, first: float | None = None, again: float = _AGAIN) -> None:
        self._console = console
        self._first = _FIRST if first is None else first
        self._again = again
        cut = Column(no_wrap=True, overflow="ellipsis", ratio=1)
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", table_column=cut, markup=False),
            BarColumn(bar_width=12),
            _Figures(table_column=Column(no_wrap=True, justify="right")),
            console=console,
            auto_refresh=False,
            expand=True,
        )

    def __rich__(self) -> RenderableType:
        # A terminal shows "^C" where the cursor is. At the end of a full line that would begin a
        # new one, and the display would be redrawn one line too low.
        return Constrain(self._bars.get_renderable(), self._console.width - 3)

    @contextmanager
    def work(self, what: str, total: int | None, unit: str) -> Iterator[Advance]:
        """Show work that lasts as long as the context; see ``progress.Listener``."""
        number = self._bars.add_task(what, total=total, unit=unit)
        task = next(task for task in self._bars.tasks if task.id == number)
        lines = _Lines(partial(self._tell, task), self._first, self._again)

        def advance(done: int) -> None:
            self._bars.advance(number, done)
            if not self._console.is_terminal:
                lines.print_due()

        try:
            with nullcontext() if self._console.is_terminal else lines:
                yield advance
        finally:
            self._bars.remove_task(number)

    def _tell(self, task: Task) -> None:
        text = f"{task.description}: {figures(task)}"
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


class Redrawn:
    """Draws its screen again and again on a terminal, from when it is entered until it is left."""

    def __init__(self, console: Console, frames: int) -> None:
        self._live = (
            Live(
                get_renderable=self._screen,
                console=console,
                refresh_per_second=frames,
                transient=True,
            )
            if console.is_terminal
            else None
        )
        """None where there is no terminal: plain lines are for the class to print."""

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def _screen(self) -> RenderableType:
        raise NotImplementedError


class _Lines:
    """Calls ``tell`` about one work after ``first`` seconds, and then every ``again`` seconds."""

    def __init__(self, tell: Callable[[], None], first: float, again: float) -> None:
        self._tell, self._again = tell, again
        self._due = time.monotonic() + first
        self._lock = threading.Lock()
        # A batch may take longer than that, and reports nothing until it is done.
        self._timer = threading.Timer(first, self.print_due)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def print_due(self) -> None:
        """Print a line if it is due."""
        with self._lock:
            if time.monotonic() < self._due:
                return
            self._due = time.monotonic() + self._again
        self._tell()


class _Figures(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(figures(task), style="progress.remaining")


def figures(task: Task) -> str:
    """``36/72 images  12.5/s  0:00:03``: what is done, how fast, and the time left.

    Where the total isn't known, what is done and the time since the start. The rate is that of the
    last half minute.
    """
    done, unit = int(task.completed), task.fields["unit"]
    sizes = unit == "bytes"
    if task.total is None:
        known = [decimal(done) if sizes else f"{done} {unit}"] if done else []
        return "  ".join([*known, _clock(task.elapsed or 0.0)])
    total = int(task.total)
    parts = [f"{decimal(done)}/{decimal(total)}" if sizes else f"{done}/{total} {unit}"]
    if task.speed:
        parts.append(f"{decimal(int(task.speed)) if sizes else format_rate(task.speed)}/s")
        parts.append(_clock((total - done) / task.speed))
    return "  ".join(parts)


def format_rate(rate: float) -> str:
    """Three digits, without an exponent."""
    return f"{rate:.0f}" if rate >= 100 else f"{rate:.3g}" if rate >= 0.001 else f"{rate:.6f}"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


@contextmanager
def showing_work(console: Console = log) -> Iterator[None]:
    """Show the work that is done inside, on stderr by default, and leave nothing of it behind.

    Print results after it: on a terminal, what is printed meanwhile stands above the work's lines.
    Raises StopRequestedError, with the command to start again, at Ctrl-C.
    """
    work = Work(console)
    try:
        with listening(work), _drawn(work, console):
            yield
    except KeyboardInterrupt:
        again = shlex.join(["marble", *sys.argv[1:]])
        raise StopRequestedError(f"interrupted\nstart again with: {again}") from None


def _drawn(work: Work, console: Console) -> AbstractContextManager[object]:
    if not console.is_terminal:
        return nullcontext()
    return Live(
        work,
        console=console,
        refresh_per_second=_FRAMES,
        transient=True,
        # Redirecting a pipe would send what is meant for it to the terminal.
        redirect_stdout=sys.stdout.isatty(),
        redirect_stderr=sys.stderr.isatty(),
    )
