from __future__ import annotations

import re
import zipfile
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

from marblecli.report.charts import Cell, matrix
from marblecli.report.page import Chart, Page, Section, render_page, table_section
from marblecli.report.run_page import run_page
from marblecli.report.tables import Column, MeanCosine, Table
from support.findings import SURE
from support.run_data import run_data

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
        Section(
            "A chart",
            charts=(
                Chart("Pairs", matrix("Pairs", ("ocr", "aes"), {(0, 1): Cell(-0.5, "-0.50", "")})),
            ),
        ),
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
    # Names, which nothing fetches.
    assert set(links) == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"url\((.)", page)) <= {"#"}
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
        "<details ",
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
    names = zipfile.ZipFile(wheel).namelist()
    for name in ("page.html", "page.css", "gallery.js"):
        assert f"marblecli/report/templates/{name}" in names


def test_a_browser_is_told_to_run_the_pages_own_script_only() -> None:
    still, moving = render_page(PAGE), render_page(run_page(run_data()))
    assert "<script>" not in still
    assert "script-src" not in still
    script = moving.partition("<script>")[2].partition("</script>")[0]
    digest = b64encode(sha256(script.encode()).digest()).decode()
    for page in (still, moving):
        assert "default-src 'none'" in page.replace("&#39;", "'")
    assert f"script-src 'sha256-{digest}'" in moving.replace("&#39;", "'").replace("&#43;", "+")


def test_every_image_has_its_text_and_only_the_last_step_is_shown_at_first() -> None:
    page = render_page(run_page(run_data()))
    images = re.findall(r"<img [^>]*>", page)
    assert len(images) == 3
    assert [re.findall(r'alt="([^"]*)"', image)[0] for image in images] == [
        "Base model: a cat",
        "Step 5: a cat",
        "Step 10: a cat",
    ]
    assert re.findall(r'<div data-step="(\d+)"( class="hidden")?>', page) == [
        ("5", ' class="hidden"'),
        ("10", ""),
    ]


def test_every_link_leads_to_a_section() -> None:
    page = render_page(run_page(run_data()))
    links = re.findall(r'href="#([^"]+)"', page)
    assert links
    for link in links:
        assert f'id="{link}"' in page
