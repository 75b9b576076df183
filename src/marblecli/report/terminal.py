"""Tables as text on a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import rich.table
from rich.console import Console, Group
from rich.text import Text

from marblecli.report.cells import lines
from marblecli.report.render import out
from marblecli.report.tables import Cell, Column, Table

_STYLES: Mapping[str, str] = {"plain": "", "negative": "red", "positive": "green", "quiet": "dim"}
_ENDLESS = 10_000
"""The width of a screen on which any table fits."""


@dataclass(frozen=True)
class _Form:
    """How much of a table is drawn, and in how many lines."""

    details: bool = False
    titles: re.Pattern[str] | None = None
    """Where the columns' titles go on in a new line; None to keep them in one."""
    cells: re.Pattern[str] | None = None
    """Where the cells do."""


# Brackets stay whole: an interval, or a share with its sign.
_WORDS = re.compile(r"(?<! -) (?![^(\[]*[)\]])")
_HYPHENS = re.compile(r"(?<=[^\W\d_]{2})-(?=\w)|" + _WORDS.pattern)

_FORMS = (
    _Form(details=True),
    _Form(details=True, titles=_HYPHENS),
    _Form(),
    _Form(titles=_HYPHENS),
    _Form(titles=_HYPHENS, cells=_WORDS),
    _Form(titles=_HYPHENS, cells=_HYPHENS),
)
"""From the fullest to the narrowest."""


def show(table: Table, console: Console = out) -> None:
    """Print the table with its title and notes, in the fullest form that the screen has room for.

    A narrow screen breaks titles into lines, then leaves out what is marked as detail, and breaks
    cells into lines where that isn't enough.
    """
    console.print(Text(table.title, style="bold"))
    console.print(_fitting(table, console))
    for note in table.notes:
        console.print(note, markup=False)


def _fitting(table: Table, console: Console) -> rich.table.Table:
    endless = console.options.update(width=_ENDLESS, max_width=_ENDLESS)
    for form in _FORMS:
        drawn = _draw(table if form.details else table.without_details(), form)
        if console.measure(drawn, options=endless).maximum <= console.width:
            break
    return drawn


def _draw(table: Table, form: _Form) -> rich.table.Table:
    drawn = rich.table.Table()
    for column in table.columns:
        title = _broken(column.title, form.titles)
        header = Text("\n".join(filter(None, (title, column.note))))
        if column.kind == "text":
            drawn.add_column(header, justify="left", overflow="fold")
        else:
            drawn.add_column(header, justify="right", overflow="fold")
    for row in table.rows:
        cells = zip(row, table.columns, strict=True)
        drawn.add_row(*(Group(*_texts(cell, column, form)) for cell, column in cells))
    return drawn


def _texts(cell: Cell, column: Column, form: _Form) -> Iterator[Text]:
    for line in lines(cell, column.kind):
        if form.details or not line.detail:
            yield Text(_broken(line.text, form.cells), style=_STYLES[line.tone])


def _broken(text: str, places: re.Pattern[str] | None) -> str:
    """The text with a new line at the ``places``: a space is dropped, a hyphen stays."""
    if places is None:
        return text
    return places.sub(lambda place: place[0].rstrip() + "\n", text)
