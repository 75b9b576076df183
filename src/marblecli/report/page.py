"""Sentences, tables and charts as one HTML page that needs no other file, script or network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from marblecli.report.cells import column_notes, lines
from marblecli.report.document import SCHEMA
from marblecli.report.tables import Table


@dataclass(frozen=True)
class Section:
    """A part of the page under its own title: text, then a chart, then tables."""

    title: str
    text: str = ""
    chart: str = ""
    """SVG, as :mod:`marblecli.report.charts` draws it; everything else is plain text."""
    tables: tuple[Table, ...] = ()
    folded: bool = False
    """Whether the reader has to unfold it."""


@dataclass(frozen=True)
class Page:
    """What a page shows; all texts are plain."""

    title: str
    verdict: tuple[str, ...]
    """The paragraphs that come first."""
    measured: str
    """What the verdict and the tables rest on."""
    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()


def table_section(table: Table) -> Section:
    """One table under its own title."""
    return Section(table.title, table.explanation, tables=(table,))


def render_page(page: Page) -> str:
    """The page as text."""
    return _environment().get_template("page.html").render(page=page, schema=SCHEMA)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("marblecli.report"), autoescape=True, undefined=StrictUndefined
    )
    environment.globals.update(column_notes=column_notes, lines=lines, zip=zip)
    return environment
