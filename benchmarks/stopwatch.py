"""Seconds by stage, each moment charged to the innermost stage that is open."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any
from unittest.mock import patch

import torch

OTHER = "other"


def now() -> float:
    """Seconds; on a CPU those of this process, which others on the machine don't lengthen."""
    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


class Stopwatch:
    """Times nested stages of one thread; on CUDA the device is waited for where a stage changes."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._open = [OTHER]
        self._since = time.perf_counter()

    @property
    def current(self) -> str:
        """The innermost open stage."""
        return self._open[-1]

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Inside, time counts for ``name``."""
        self._charge()
        self._open.append(name)
        try:
            yield
        finally:
            self._charge()
            self._open.pop()

    @contextmanager
    def fresh(self) -> Iterator[dict[str, float]]:
        """Start from zero; the seconds by stage are in the mapping when the block ends."""
        self._charge()
        self.seconds.clear()
        found: dict[str, float] = {}
        yield found
        self._charge()
        found.update(self.seconds)

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, as that stage."""

        @wraps(function)
        def run(*arguments: Any, **options: Any) -> Any:
            with self.stage(name):
                return function(*arguments, **options)

        return run

    @contextmanager
    def watching(self, *places: tuple[Any, str, str]) -> Iterator[None]:
        """Inside, each (owner, attribute, stage) is a timed function."""
        with ExitStack() as stack:
            for owner, attribute, name in places:
                timed = self.timed(name, getattr(owner, attribute))
                stack.enter_context(patch.object(owner, attribute, timed))
            yield

    def _charge(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds[self.current] += now - self._since
        self._since = now
