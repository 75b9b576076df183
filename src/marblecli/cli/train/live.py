"""Show the progress of a run: by a live table on a terminal, and by plain lines elsewhere."""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from marblecli.cli.progress import Redrawn, Work
from marblecli.cli.train.eta import Eta
from marblecli.report.render import out
from marblecli.types import RewardChange

if TYPE_CHECKING:
    from marblecli.train.recorder import EvaluationReport, StepReport

_WINDOW = 5
"""The shown means are over this many steps, because the mean of one step's images is noisy."""
_PAUSE = 1.0
"""Seconds between two lines about steps where there is no terminal."""


class LiveProgress(Redrawn):
    """Shows each reward's mean and its change, the worst cosine, the step time and the ETA.

    It also listens to the long work that a step or an evaluation consists of.
    """

    def __init__(self, rewards: Sequence[str], steps: int, eta: Eta) -> None:
        self._steps = steps
        self._eta = eta
        self._step = 0
        self._first: dict[str, list[float]] = {name: [] for name in rewards}
        self._last: dict[str, deque[float]] = {name: deque(maxlen=_WINDOW) for name in rewards}
        self._cosines: Mapping[str, float] = {}
        self._seconds = 0.0
        self._faults = 0
        self._constant = 0
        self._printed = -math.inf
        self.work = Work(out)
        """Listens to long work."""
        super().__init__(out, frames=8)

    def on_step(self, report: StepReport) -> None:
        """Show one step."""
        for name, value in report.rewards.items():
            if len(self._first[name]) < _WINDOW:
                self._first[name].append(value)
            self._last[name].append(value)
        self._step, self._seconds = report.step, report.seconds
        self._cosines = report.cosines or self._cosines
        self._faults += len(report.faults)
        self._constant += report.constant_groups
        self._eta.after_step(report.step, report.seconds)
        for notice in report.notices:
            self._warn(f"step {report.step}: {notice}")
        for fault in report.faults:
            self._warn(f"fault at step {report.step}: {fault}")
        if self._live is None:
            self._print_line()

    def on_evaluation(self, report: EvaluationReport) -> None:
        """Print the faults and how long it took, and for each split a line with the changes.

        The changes at the end of the run are left out, because a table with them comes next.
        """
        self._eta.after_evaluation(report.step, report.seconds)
        place = f"step {report.step}" if report.step else "base model"
        for fault in report.faults:
            self._warn(f"fault in the evaluation of step {report.step}: {fault}")
        out.print(f"{place}: evaluated in {report.seconds:.1f} s", highlight=False)
        if report.step == self._steps:
            return
        for split, changes in report.changes.items():
            parts = [f"{change.reward} {_shown(change)}" for change in changes]
            self._print_parts(f"step {report.step}, {split} prompts:", parts)

    def _print_line(self) -> None:
        """Print the step, unless the last one was printed just before."""
        now = time.monotonic()
        if self._step in {1, self._steps} or now - self._printed >= _PAUSE:
            self._print(self._line())
            self._printed = now

    def _warn(self, text: str) -> None:
        self._print(text, style="yellow")

    def _print(self, text: str, style: str | None = None) -> None:
        # A terminal's lines are broken between words, and those of a file aren't broken at all.
        out.print(text, style=style, markup=False, soft_wrap=not out.is_terminal)

    def _print_parts(self, title: str, parts: Sequence[str]) -> None:
        """Print the parts in one line, and on a terminal in columns, so that none is torn apart."""
        if out.is_terminal:
            out.print(title, Columns(map(Text, parts), padding=(0, 2)))
        else:
            self._print("  ".join((f"{title} {parts[0]}", *parts[1:])) if parts else title)

    def _screen(self) -> RenderableType:
        return Group(self._table(), self.work) if self._step else self.work

    def _mean(self, name: str) -> float:
        return statistics.fmean(self._last[name]) if self._last[name] else math.nan

    def _change(self, name: str) -> float:
        first = self._first[name]
        return self._mean(name) - statistics.fmean(first) if first else math.nan

    def _worst_cosine(self) -> str:
        return f"{min(self._cosines.values()):+.2f}" if self._cosines else "none"

    def _line(self) -> str:
        rewards = "  ".join(
            f"{name} {self._mean(name):.3f} ({self._change(name):+.3f})" for name in self._first
        )
        return (
            f"step {self._step}/{self._steps}  {rewards}  worst cosine {self._worst_cosine()}  "
            f"{self._seconds:.1f} s/step{self._left_out('  ')}  ETA {self._eta.describe()}"
        )

    def _left_out(self, space: str) -> str:
        """The prompts of all steps so far on which no reward varied; nothing if there are none."""
        return f"{space}{self._constant} constant prompts left out" if self._constant else ""

    def _table(self) -> Table:
        table = Table(
            title=f"step {self._step}/{self._steps}",
            caption=(
                f"worst cosine {self._worst_cosine()}   {self._seconds:.1f} s/step   "
                f"faults {self._faults}{self._left_out('   ')}\nETA {self._eta.describe()}"
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
