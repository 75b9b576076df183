"""The description of a table: what it says, whatever it is drawn on.

``terminal.py`` draws it as text, ``document.py`` as JSON, and ``page.py`` as HTML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from marblecli.conflicts.estimates import Estimate
from marblecli.conflicts.pairs import PairVerdict

Kind = Literal[
    "text", "count", "number", "share", "cosine", "weighted", "estimate", "verdict", "change"
]


@dataclass(frozen=True)
class WeightedCosine:
    """A reward's cosine with a direction, and its weight there; a cell of kind ``weighted``."""

    cosine: float
    simplex_weight: float


@dataclass(frozen=True)
class MeanCosine:
    """A mean cosine over batches with its interval; a cell of kind ``estimate``."""

    estimate: Estimate
    conflict_share: float | None = None
    """The share of batches in conflict, where the table shows it."""
    reward: str | None = None
    """The reward whose cosine it is, where the table has no row or column for it."""


@dataclass(frozen=True)
class Judged:
    """A verdict and the estimate that it rests on; a cell of kind ``verdict``."""

    verdict: PairVerdict
    estimate: Estimate


@dataclass(frozen=True)
class Change:
    """A difference of means and the bounds of its interval; a cell of kind ``change``."""

    value: float
    low: float
    high: float
    """NaN where there is no interval."""

    @property
    def sign(self) -> int:
        """1 or -1 where the whole interval is on that side of zero; 0: not significant."""
        return int(self.low > 0.0) - int(self.high < 0.0)


Cell = str | int | float | WeightedCosine | MeanCosine | Judged | Change | None
"""None, like NaN, stands for no value."""

_CELLS: Mapping[Kind, type | tuple[type, ...]] = MappingProxyType(
    {
        "text": str,
        "count": int,
        "number": (int, float),
        "share": (int, float),
        "cosine": (int, float),
        "weighted": WeightedCosine,
        "estimate": MeanCosine,
        "verdict": Judged,
        "change": Change,
    }
)


@dataclass(frozen=True)
class Column:
    """One column: its title, and the kind of its cells."""

    title: str
    kind: Kind
    note: str = ""
    """What is said below the title."""
    detail: int = 0
    """0 for a column that is always shown. A screen that is too narrow leaves out the columns of
    the greatest number first, and those of number 1 together with the details of cells."""
    chance: float | None = None
    """What the shares of batches in conflict would be by chance, where the column has such."""


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    explanation: str = ""
    """What the table shows, in whole sentences; a page and JSON have room for it."""
    notes: tuple[str, ...] = ()
    """What a reader must know to read the table rightly; they are always shown."""

    def __post_init__(self) -> None:
        for row in self.rows:
            for column, cell in zip(self.columns, row, strict=True):
                if cell is not None and not isinstance(cell, _CELLS[column.kind]):
                    raise TypeError(f"{self.title}: {column.title}: {cell!r} isn't {column.kind}")

    def first(self, count: int) -> Table:
        """The same table with its first rows only."""
        return replace(self, rows=self.rows[:count])

    def last(self, count: int) -> Table:
        """The same table with its last rows only."""
        return replace(self, rows=self.rows[max(len(self.rows) - count, 0) :])

    def without_details(self, most: int = 0) -> Table:
        """The same table without the columns whose ``detail`` is above ``most``."""
        return self.only(
            [place for place, column in enumerate(self.columns) if column.detail <= most]
        )

    def only(self, places: Sequence[int]) -> Table:
        """The same table with the columns at these ``places``, in their order."""
        return replace(
            self,
            columns=tuple(self.columns[place] for place in places),
            rows=tuple(tuple(row[place] for place in places) for row in self.rows),
        )
