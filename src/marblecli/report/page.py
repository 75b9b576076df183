"""Sentences, tables, charts and images as one HTML page that needs no other file and no network."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined

from marblecli.report.cells import column_notes, lines
from marblecli.report.document import SCHEMA
from marblecli.report.gallery import Gallery
from marblecli.report.tables import Table


@dataclass(frozen=True)
class Chart:
    """One chart with its title; on a wide screen several stand side by side."""

    title: str
    svg: str
    """As :mod:`marblecli.report.drawing` draws it; everything else of a page is plain text."""
    text: str = ""
    tall: bool = False
    """Whether it is about twice as high as the charts beside it."""


@dataclass(frozen=True)
class Section:
    """A part of the page under its own title: text, then charts, images and tables."""

    title: str
    text: str = ""
    charts: tuple[Chart, ...] = ()
    galleries: tuple[Gallery, ...] = ()
    tables: tuple[Table, ...] = ()
    beside: bool = False
    """Whether the tables are narrow enough to stand side by side."""
    folded_tables: tuple[Table, ...] = ()
    """Tables that the reader has to unfold."""
    source: str = ""
    """A file, as it is."""
    folded: bool = False
    """Whether the reader has to unfold the section."""

    @property
    def anchor(self) -> str:
        """The name by which a link of the page leads here."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


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
    """What helps to read the page; they stand at its end."""
    missing: tuple[str, ...] = ()
    """What a reader may expect and the page doesn't have, one line each."""


def table_section(table: Table) -> Section:
    """One table under its own title."""
    return Section(table.title, table.explanation, tables=(table,))


def render_page(page: Page) -> str:
    """The page as text."""
    environment, style, script = _environment(), _file("page.css"), _file("gallery.js")
    moving = any(section.galleries for section in page.sections)
    return environment.get_template("page.html").render(
        page=page,
        schema=SCHEMA,
        style=style,
        script=script if moving else "",
        policy=_policy(script if moving else ""),
    )


def _policy(script: str) -> str:
    """What a browser may do with the page: nothing but show it, and run its own script."""
    digest = b64encode(sha256(script.encode()).digest()).decode()
    allowed = f"script-src 'sha256-{digest}'; " if script else ""
    return f"default-src 'none'; img-src data:; {allowed}style-src 'unsafe-inline'"


def _file(name: str) -> str:
    return (files("marblecli.report") / "templates" / name).read_text(encoding="utf-8").strip()


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("marblecli.report"), autoescape=True, undefined=StrictUndefined
    )
    environment.globals.update(column_notes=column_notes, lines=lines, zip=zip)
    return environment
