"""How long a run will still take, its evaluations included."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta

_WINDOW = 20
"""Steps whose mean duration is that of the steps to come."""


class Eta:
    """The time left of a run of ``steps`` steps, evaluated after every ``every`` and at the end.

    ``evaluation`` is how many seconds an earlier evaluation took, if that is known. ``clock`` gives
    seconds.
    """

    def __init__(
        self,
        steps: int,
        every: int,
        evaluation: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._steps = steps
        self._every = every
        self._evaluation = evaluation
        self._clock = clock
        self._seconds: deque[float] = deque(maxlen=_WINDOW)
        self._step = 0
        self._evaluated = 0
        self._since = clock()

    def after_step(self, step: int, seconds: float) -> None:
        """Note that a step was made."""
        self._step, self._since = step, self._clock()
        self._seconds.append(seconds)

    def after_evaluation(self, step: int, seconds: float) -> None:
        """Note that the weights after ``step`` were evaluated."""
        self._step, self._since = step, self._clock()
        self._evaluation, self._evaluated = seconds, step

    def describe(self) -> str:
        """``0:01:58 with 2 evaluations``, or why it isn't known."""
        if not self._seconds:
            return "unknown before the first step"
        evaluations = self._evaluations_left()
        left = (self._steps - self._step) * statistics.fmean(self._seconds)
        left += evaluations * (self._evaluation or 0.0)
        passed = self._clock() - self._since
        text = str(timedelta(seconds=round(max(left - passed, 0.0))))
        if not evaluations:
            return text
        counted = "1 evaluation" if evaluations == 1 else f"{evaluations} evaluations"
        if self._evaluation is None:
            return f"{text} without {counted}, as none was timed yet"
        return f"{text} with {counted}"

    def _evaluations_left(self) -> int:
        """How many are due from the current step on, the one after the current step included."""
        first = self._step if self._evaluated < self._step else self._step + 1
        if first > self._steps:
            return 0
        if not self._every:
            return 1
        at_the_end = self._steps % self._every > 0
        return self._steps // self._every - (first - 1) // self._every + at_the_end
