"""Tables and sentences as text on a terminal of any width."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import rich.table
from rich.console import Console, Group
from rich.style import StyleType
from rich.text import Text

from marblecli.report.cells import column_notes, lines
from marblecli.report.render import out
from marblecli.report.tables import Cell, Column, Table

_STYLES: Mapping[str, str] = {"plain": "", "negative": "red", "positive": "green", "quiet": "dim"}
_ENDLESS = 10_000
"""The width of a screen on which any table fits."""
_BOUND = "\N{NO-BREAK SPACE}"
_VALUES = re.compile(r"(?<=\d) (?=%)|(?<=\d %) (?=interval)")
"""Spaces at which a sentence is never broken: those inside a value."""
_WORDS = re.compile(r"(?<! -) (?![^(\[]*[)\]])")
"""Spaces at which a title or a name may be broken: brackets stay whole, as in an interval."""


@dataclass(frozen=True)
class _Form:
    """How much of a table is drawn, and in how many lines."""

    details: int
    """The greatest detail that is shown."""
    broken_titles: bool = False
    broken_names: bool = False
    """Whether cells of text may go on in a new line; numbers never do."""


def say(text: str, console: Console = out, style: StyleType | None = None) -> None:
    """Print a sentence, broken into lines between words; a path, name or value stays whole."""
    bound = _VALUES.sub(_BOUND, text)
    width = console.width
    for line in textwrap.wrap(bound, width, break_long_words=False, break_on_hyphens=False):
        plain = Text(line.replace(_BOUND, " "), style=style or "")
        console.print(plain, soft_wrap=True)


def show(table: Table, console: Console = out) -> None:
    """Print the table with its title and notes, in the fullest form that the screen has room for.

    A narrow screen breaks titles into lines and leaves out details. What is still too wide is drawn
    as several tables, each with the first column and as many others as there is room for.
    """
    say(table.title, console, "bold")
    for drawn in _fitting(table, console):
        console.print(drawn)
    for note in table.notes:
        say(note, console)


def _fitting(table: Table, console: Console) -> list[rich.table.Table]:
    for form in _forms(table):
        drawn = _draw(table, form)
        if _width(drawn, console) <= console.width:
            return [drawn]
    return [_draw(table.only(places), form) for places in _blocks(table, form, console)]


def _forms(table: Table) -> Iterator[_Form]:
    """From the fullest to the narrowest."""
    for level in sorted({0, 1, *(column.detail for column in table.columns)}, reverse=True):
        yield _Form(level)
        yield _Form(level, broken_titles=True)
    yield _Form(0, broken_titles=True, broken_names=True)


def _blocks(table: Table, form: _Form, console: Console) -> list[list[int]]:
    """The columns of each of several tables that fit: the first of all, then some of the others."""
    first, *others = (
        place for place, column in enumerate(table.columns) if column.detail <= form.details
    )
    blocks = [[first]]
    for place in others:
        longer = [*blocks[-1], place]
        fits = _width(_draw(table.only(longer), form), console) <= console.width
        if fits or len(blocks[-1]) == 1:
            blocks[-1] = longer
        else:
            blocks.append([first, place])
    return blocks


def _width(drawn: rich.table.Table, console: Console) -> int:
    endless = console.options.update(width=_ENDLESS, max_width=_ENDLESS)
    return console.measure(drawn, options=endless).maximum


def _draw(table: Table, form: _Form) -> rich.table.Table:
    shown = table.without_details(form.details)
    drawn = rich.table.Table()
    for column in shown.columns:
        title = _broken(column.title) if form.broken_titles else column.title
        header = Text("\n".join((title, *column_notes(column))))
        if column.kind == "text":
            drawn.add_column(header, justify="left", overflow="fold")
        else:
            drawn.add_column(header, justify="right", overflow="fold")
    for row in shown.rows:
        cells = zip(row, shown.columns, strict=True)
        drawn.add_row(*(Group(*_texts(cell, column, form)) for cell, column in cells))
    return drawn


def _texts(cell: Cell, column: Column, form: _Form) -> Sequence[Text]:
    broken = form.broken_names and column.kind == "text"
    return [
        Text(_broken(line.text) if broken else line.text, style=_STYLES[line.tone])
        for line in lines(cell, column.kind)
        if form.details or not line.detail
    ]


def _broken(text: str) -> str:
    """The text with a new line in place of every space where it may be broken."""
    return _WORDS.sub("\n", text)
