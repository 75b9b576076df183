"""Where the time of an optimizer step goes: seconds by phase."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Phases:
    """Adds up the seconds of each phase, until they are taken.

    On a GPU, a phase lasts until the processor has handed its work over, or has waited for its
    result. So a phase's last kernels may count for the next one, which waits for them.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Inside, time counts for the phase ``name``; phases aren't nested."""
        started = time.perf_counter()
        try:
            yield
        finally:
            passed = time.perf_counter() - started
            self._seconds[name] = self._seconds.get(name, 0.0) + passed

    def take(self) -> dict[str, float]:
        """The seconds by phase, rounded to a tenth of a millisecond; then all start from zero."""
        found = {name: round(seconds, 4) for name, seconds in self._seconds.items()}
        self._seconds.clear()
        return found
