"""Tables as text on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import rich.table
from rich.console import Console, Group
from rich.text import Text

from marblecli.report.cells import lines
from marblecli.report.render import out
from marblecli.report.tables import Cell, Column, Table

_STYLES: Mapping[str, str] = {"plain": "", "negative": "red", "quiet": "dim"}
_ENDLESS = 10_000
"""Columns of a screen on which any table fits."""


def show(table: Table, console: Console = out) -> None:
    """Print the table with its title and notes, in the fullest form that the screen has room for.

    On a narrow screen it leaves out what is marked as detail, and then breaks the columns' titles
    at hyphens.
    """
    console.print(Text(table.title, style="bold"))
    console.print(_fitting(table, console))
    for note in table.notes:
        console.print(note, markup=False)


def _fitting(table: Table, console: Console) -> rich.table.Table:
    endless = console.options.update(width=_ENDLESS, max_width=_ENDLESS)
    for form in _FORMS:
        drawn = form(table)
        if console.measure(drawn, options=endless).maximum <= console.width:
            break
    return drawn


def _full(table: Table) -> rich.table.Table:
    return _draw(table, lambda column: column.title, details=True)


def _short(table: Table) -> rich.table.Table:
    return _draw(table.without_details(), lambda column: column.title, details=False)


def _narrow(table: Table) -> rich.table.Table:
    def broken(column: Column) -> str:
        return column.title.replace("-", "-\n").replace(" ", "\n")

    return _draw(table.without_details(), broken, details=False)


_FORMS: tuple[Callable[[Table], rich.table.Table], ...] = (_full, _short, _narrow)


def _draw(table: Table, title: Callable[[Column], str], *, details: bool) -> rich.table.Table:
    drawn = rich.table.Table()
    for column in table.columns:
        header = Text("\n".join(filter(None, (title(column), column.note))))
        if column.kind == "text":
            drawn.add_column(header, justify="left", overflow="fold")
        else:
            drawn.add_column(header, justify="right", overflow="fold")
    for row in table.rows:
        cells = zip(row, table.columns, strict=True)
        drawn.add_row(*(Group(*_texts(cell, column, details)) for cell, column in cells))
    return drawn


def _texts(cell: Cell, column: Column, details: bool) -> Iterator[Text]:
    for line in lines(cell, column.kind):
        if details or not line.detail:
            yield Text(line.text, style=_STYLES[line.tone])
