"""What is alive at every moment of a pass, and what would be in a deeper network with more rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from marblecli.planning.live_bytes import LiveBytes
from marblecli.types import FloatArray


class Timeline(LiveBytes):
    """Records the bytes alive after every growth.

    ``missing`` says for each kind of block how many blocks were taken out of the network that runs
    (see :mod:`marblecli.planning.stacks`). What a typical block of the kind leaves behind counts
    once more for each.
    """

    def __init__(self, missing: Sequence[int]) -> None:
        super().__init__()
        self.moments: list[int] = []
        """Bytes alive, those of missing blocks included."""
        self._missing = tuple(missing)
        self._left = [0] * len(self._missing)
        """Bytes alive of what the typical block of each kind has made."""
        self._kinds: dict[int, int] = {}
        self._running: int | None = None
        """The kind of the typical block that runs."""
        self._waiting: tuple[int, int] | None = None
        """The kind of the typical block that has begun, and what it had left before."""
        self._since = 0
        """The first moment after it."""
        self._settling = False

    def mark(self) -> int:
        """The place of the present moment in :attr:`moments`."""
        self._record()
        return len(self.moments) - 1

    @contextmanager
    def typical(self, kind: int) -> Iterator[None]:
        """Inside, the typical block of that kind runs forwards."""
        self._settle()
        self._running = kind
        self._waiting = (kind, self._left[kind])
        try:
            yield
        finally:
            self._running = None
            self._since = len(self.moments)

    def settle(self) -> None:
        """The block after the typical one has run.

        Its inputs, which the typical block made, are freed before anything else is made. What is
        left of the typical block then, the missing blocks have left, too, before the last one ran.
        """
        self._settling = self._waiting is not None

    def _settle(self) -> None:
        if not self._settling or self._waiting is None:
            return
        kind, before = self._waiting
        self._waiting, self._settling = None, False
        left = self._missing[kind] * (self._left[kind] - before)
        for moment in range(self._since, len(self.moments)):
            self.moments[moment] += left

    def _made(self, tensor: Tensor) -> None:
        if self._running is not None:
            self._kinds[int(tensor.untyped_storage()._cdata)] = self._running
        super()._made(tensor)

    def _resized(self, key: int, size: int) -> None:
        growth = size - self._sizes.get(key, size)
        if (kind := self._kinds.get(key)) is not None:
            self._left[kind] += growth
        super()._resized(key, size)
        if growth > 0:
            self._record()

    def _gone(self, key: int) -> None:
        super()._gone(key)
        self._kinds.pop(key, None)

    def _record(self) -> None:
        self._settle()
        left = list(self._left)
        if self._waiting is not None:
            kind, before = self._waiting
            left[kind] = before
        beyond = sum(a * b for a, b in zip(left, self._missing, strict=True))
        self.moments.append(self.now + beyond)


@dataclass(frozen=True)
class Growth:
    """Bytes alive at every moment of a pass, as a linear function of its rows."""

    fixed: FloatArray
    """[moments], with no row at all."""
    row: FloatArray
    """[moments], that each row adds."""

    def at(self, moment: int, rows: int) -> int:
        """Bytes alive at one moment."""
        return round(float(self.fixed[moment] + rows * self.row[moment]))

    def peak(self, rows: int) -> int:
        """The most bytes alive at once."""
        return round(float(np.max(self.fixed + rows * self.row)))


def growth(moments: Sequence[Sequence[int]], rows: tuple[int, int]) -> Growth:
    """From two runs of the same pass, with ``rows`` rows each.

    Raises ValueError if the runs don't correspond moment by moment.
    """
    first, second = (np.array(each, dtype=np.float64) for each in moments)
    if len(first) != len(second):
        raise ValueError(f"a pass of {len(first)} moments and one of {len(second)} aren't the same")
    row = (second - first) / (rows[1] - rows[0])
    return Growth(first - rows[0] * row, row)
