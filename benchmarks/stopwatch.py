"""Measure seconds by stage; each moment counts for the innermost open stage."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any
from unittest.mock import patch

import torch

from device_memory import DeviceMemory

OTHER = "other"


def now() -> float:
    """The time in seconds; on a CPU it is this process's own time, without other processes'."""
    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


class Stopwatch:
    """Measures nested stages of one thread. On CUDA it waits for the device at every change.

    With ``memory`` it also takes the peak of each stage.
    """

    def __init__(self, memory: DeviceMemory | None = None) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.peaks: dict[str, int] = {}
        """Bytes by stage, the most of all times that it was open."""
        self._memory = memory
        self._open = [OTHER]
        self._since = time.perf_counter()

    @property
    def current(self) -> str:
        """The innermost open stage."""
        return self._open[-1]

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Inside, time counts for the stage ``name``."""
        self._charge()
        self._open.append(name)
        try:
            yield
        finally:
            self._charge()
            self._open.pop()

    @contextmanager
    def fresh(self) -> Iterator[dict[str, float]]:
        """Start from zero. After the block, the mapping has the seconds by stage."""
        self._charge()
        self.seconds.clear()
        found: dict[str, float] = {}
        yield found
        self._charge()
        found.update(self.seconds)

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose time counts for the stage ``name``."""

        @wraps(function)
        def run(*arguments: Any, **options: Any) -> Any:
            with self.stage(name):
                return function(*arguments, **options)

        return run

    @contextmanager
    def watching(self, *places: tuple[Any, str, str]) -> Iterator[None]:
        """Inside, the function at each (owner, attribute, stage) is timed."""
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
        if self._memory is not None:
            peak = self._memory.take_peak()
            self.peaks[self.current] = max(peak, self.peaks.get(self.current, 0))
