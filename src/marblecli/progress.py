"""Long work says here what it does and how far it is; whoever shows it listens here.

Work deep inside (encoding prompts, sampling, scoring, downloads) reports by :func:`work`. The
command that runs it decides by :func:`listening` how that is shown, and by :func:`stopping_when`
whether the user may stop it between two of its items. Without them nothing happens. Both hold for
the calling thread alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from marblecli.errors import StopRequestedError

Advance = Callable[[int], None]
"""Called with the number of items that were done since the last call."""


class Listener(Protocol):
    """Who is told about long work."""

    def work(self, what: str, total: int | None, unit: str) -> AbstractContextManager[Advance]:
        """Work that lasts as long as the context: ``total`` items, named ``unit`` in the plural.

        ``total`` is None where it isn't known. The unit ``bytes`` is one of sizes.
        """


@dataclass(frozen=True)
class _Stop:
    """Whether the user wants to stop, and whether this process may stop by itself."""

    wanted: Callable[[], bool]
    alone: bool


_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)
_stop: ContextVar[_Stop | None] = ContextVar("stop", default=None)
_label: ContextVar[str] = ContextVar("label", default="")


@contextmanager
def listening(listener: Listener | None) -> Iterator[None]:
    """Tell ``listener`` about the work that is done inside; None tells nobody."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def labelled(label: str) -> Iterator[None]:
    """Name the work inside ``LABEL: WHAT``."""
    token = _label.set(f"{label}: ")
    try:
        yield
    finally:
        _label.reset(token)


@contextmanager
def work(what: str, total: int | None = None, unit: str = "") -> Iterator[Advance]:
    """Work that lasts as long as the context; see :class:`Listener`. Yields how to report items."""
    listener = _listener.get()
    if listener is None:
        yield _nobody
        return
    with listener.work(_label.get() + what, total, unit) as advance:
        yield advance


@contextmanager
def stopping_when(wanted: Callable[[], bool], *, alone: bool = True) -> Iterator[None]:
    """Let the work inside be stopped once ``wanted()`` is true.

    Where several processes work together, a process isn't ``alone``: it stops only where all of
    them agree on it.
    """
    token = _stop.set(_Stop(wanted, alone))
    try:
        yield
    finally:
        _stop.reset(token)


def check(agree: Callable[[bool], bool] = bool) -> None:
    """Stop here if the user wants it in any process; all processes have to call this.

    ``agree`` says whether a flag is true in any process. Raises StopRequestedError.
    """
    stop = _stop.get()
    if agree(stop is not None and stop.wanted()):
        raise StopRequestedError("stopped, as you asked")


def check_alone() -> None:
    """Stop here if the user wants it, and this process works alone. Raises StopRequestedError."""
    stop = _stop.get()
    if stop is not None and stop.alone and stop.wanted():
        raise StopRequestedError("stopped, as you asked")


def _nobody(_done: int) -> None:
    """Nobody listens."""
