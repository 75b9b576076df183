from __future__ import annotations

import re
import zipfile
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

from marblecli.report.charts import Cell, matrix
from marblecli.report.page import Page, Section, render_page, table_section
from marblecli.report.tables import Column, MeanCosine, Table
from support.findings import SURE

ROOT = Path(__file__).parents[2]
TABLE = Table(
    "Directions & more",
    (Column("direction", "text"), Column("own batch", "estimate", "8 batches")),
    (("marble", MeanCosine(SURE, 0.25, "ocr")), ("<equal>", None)),
    explanation="What a cell shows.",
    notes=("A note below.",),
)
PAGE = Page(
    title="Conflicts between rewards: runs/demo",
    verdict=("Two & three < four.", "A second sentence."),
    measured="12 measured batches.",
    sections=(
        table_section(TABLE),
        Section("A chart", chart=matrix(("ocr", "aes"), {(0, 1): Cell(-0.5, "-0.50", "")})),
        Section("Details", tables=(TABLE,), folded=True),
    ),
    notes=("? marks a doubt.",),
)


class _Tags(HTMLParser):
    """Which tags are open, and those that were."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else() -> None:
    page = render_page(PAGE)
    tags = _Tags(page)
    assert tags.open == []
    assert not {"script", "img", "iframe"} & set(tags.seen)
    links = re.findall(r"(?:https?:)?//[^\s\"'<>]+", page)
    assert set(links) == {"http://www.w3.org/2000/svg"}  # a name, which nothing fetches
    assert "url(" not in page
    # An icon of its own, so that a browser doesn't ask a server for one.
    assert re.findall(r"<link [^>]*>", page) == ['<link rel="icon" href="data:,">']
    assert (tags.seen.count("svg"), tags.seen.count("table")) == (1, 2)


def test_everything_is_on_the_page_in_order() -> None:
    page = render_page(PAGE)
    texts = (
        "runs/demo",
        "Two &amp; three &lt; four.",
        "12 measured batches.",
        "What a cell shows.",
        "8 batches",
        "-0.500 (25 %)",
        "[-0.60, -0.40]",
        "A note below.",
        "<svg",
        "<details>",
        "? marks a doubt.",
    )
    places = [page.index(text) for text in texts]
    assert places == sorted(places)
    assert 'class="negative">-0.500' in page
    assert 'data-schema="1"' in page


def test_texts_cannot_break_the_page() -> None:
    attack = '"><script>alert(1)</script>'
    table = replace(
        TABLE, columns=(Column("direction", "text"), Column(attack, "text")), rows=((attack,) * 2,)
    )
    page = render_page(
        replace(
            PAGE,
            title=attack,
            verdict=(attack,),
            measured=attack,
            notes=("{{ page }}", attack),
            sections=(table_section(table), Section(attack, attack, tables=(table,))),
        )
    )
    assert "<script>" not in page
    assert "{{ page }}" in page
    assert _Tags(page).open == []


def test_the_template_is_in_the_wheel(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    assert "marblecli/report/templates/page.html" in zipfile.ZipFile(wheel).namelist()
