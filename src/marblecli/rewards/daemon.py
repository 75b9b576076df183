"""Threads that don't keep the process from ending."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeVar

Result = TypeVar("Result")

_Call = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]


class DaemonExecutor:
    """Runs calls in daemon threads, in the order in which they were submitted.

    In Python a thread can't be stopped. The process waits for the threads of the standard library's
    executors before it ends, so a call that never returns would keep it alive. It doesn't wait for
    these threads.
    """

    def __init__(self, name: str, threads: int = 1) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._lock = Lock()
        self._closed = False
        self._threads = [Thread(target=self._work, name=name, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> bool:
        """Whether a call waits for its turn."""
        return not self._calls.empty()

    def submit(self, function: Callable[..., Result], /, *arguments: Any) -> Future[Result]:
        """Run ``function(*arguments)`` once the calls before it have begun, and a thread is free.

        Raises RuntimeError once the executor is closed.
        """
        future: Future[Result] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("the executor is closed")
            self._calls.put((future, function, arguments))
        return future

    def close(self, patience: float) -> None:
        """Cancel the calls that wait, and wait up to ``patience`` seconds for those that run."""
        with self._lock:
            self._closed = True
            self._drop_waiting()
            for _ in self._threads:
                self._calls.put(None)
        end = time.monotonic() + patience
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0.0))

    def _drop_waiting(self) -> None:
        while True:
            try:
                call = self._calls.get_nowait()
            except Empty:
                return
            if call is not None:
                call[0].cancel()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            _run(*call)
            # Without this, an idle thread would keep the images of its last call in memory.
            del call


def _run(future: Future[Any], function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function(*arguments)
    except BaseException as error:  # noqa: BLE001 - whatever it is, whoever waits gets it
        future.set_exception(error)
    else:
        future.set_result(result)
