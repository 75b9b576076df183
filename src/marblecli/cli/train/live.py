"""Show the progress of a run: by a live table on a terminal, and by plain lines elsewhere."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING

from rich.live import Live
from rich.table import Table

from marblecli.report.render import out
from marblecli.types import RewardChange

if TYPE_CHECKING:
    from marblecli.train.loop import EvaluationReport, StepReport

_WINDOW = 5
"""The shown means are over this many steps, because the mean of one step's images is noisy."""


class LiveProgress:
    """Shows each reward's mean and its change, the worst cosine, the step time and the ETA."""

    def __init__(self, rewards: Sequence[str], steps: int) -> None:
        self._steps = steps
        self._first: dict[str, list[float]] = {name: [] for name in rewards}
        self._last: dict[str, deque[float]] = {name: deque(maxlen=_WINDOW) for name in rewards}
        self._cosines: Mapping[str, float] = {}
        self._seconds: deque[float] = deque(maxlen=20)
        self._faults = 0
        self._live = Live(console=out, refresh_per_second=4) if out.is_terminal else None

    def __enter__(self) -> LiveProgress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def on_step(self, report: StepReport) -> None:
        """Show one step."""
        for name, value in report.rewards.items():
            if len(self._first[name]) < _WINDOW:
                self._first[name].append(value)
            self._last[name].append(value)
        self._cosines = report.cosines or self._cosines
        self._seconds.append(report.seconds)
        self._faults += len(report.faults)
        for notice in report.notices:
            out.print(f"step {report.step}: {notice}", style="yellow", markup=False)
        for fault in report.faults:
            out.print(f"fault at step {report.step}: {fault}", style="yellow", markup=False)
        if self._live is None:
            out.print(self._line(report.step), highlight=False, soft_wrap=True)
        else:
            self._live.update(self._table(report.step))

    def on_evaluation(self, report: EvaluationReport) -> None:
        """Print the faults, and for each split a line with every reward's change."""
        for fault in report.faults:
            out.print(
                f"fault in the evaluation of step {report.step}: {fault}",
                style="yellow",
                markup=False,
                soft_wrap=True,
            )
        for split, changes in report.changes.items():
            parts = "  ".join(f"{change.reward} {_shown(change)}" for change in changes)
            place = f"step {report.step}, {split} prompts"
            out.print(f"{place}: {parts}", highlight=False, soft_wrap=True)

    def _mean(self, name: str) -> float:
        return statistics.fmean(self._last[name]) if self._last[name] else math.nan

    def _change(self, name: str) -> float:
        first = self._first[name]
        return self._mean(name) - statistics.fmean(first) if first else math.nan

    def _worst_cosine(self) -> str:
        return f"{min(self._cosines.values()):+.2f}" if self._cosines else "none"

    def _eta(self, step: int) -> str:
        left = (self._steps - step) * statistics.fmean(self._seconds)
        return str(timedelta(seconds=round(left)))

    def _line(self, step: int) -> str:
        rewards = "  ".join(
            f"{name} {self._mean(name):.3f} ({self._change(name):+.3f})" for name in self._first
        )
        return (
            f"step {step}/{self._steps}  {rewards}  worst cosine {self._worst_cosine()}  "
            f"{self._seconds[-1]:.1f} s/step  ETA {self._eta(step)}"
        )

    def _table(self, step: int) -> Table:
        table = Table(
            title=f"step {step}/{self._steps}",
            caption=(
                f"worst cosine {self._worst_cosine()}   {self._seconds[-1]:.1f} s/step   "
                f"ETA {self._eta(step)}   faults {self._faults}"
            ),
        )
        table.add_column("reward")
        for column in (f"mean, last {_WINDOW} steps", f"change since first {_WINDOW}", "cosine"):
            table.add_column(column, justify="right")
        for name in self._first:
            cosine = self._cosines.get(name)
            table.add_row(
                name,
                f"{self._mean(name):.3f}",
                f"{self._change(name):+.3f}",
                "" if cosine is None else f"{cosine:+.2f}",
            )
        return table


def _shown(change: RewardChange) -> str:
    return "failed" if change.failure else f"{change.end - change.start:+.3f}"
