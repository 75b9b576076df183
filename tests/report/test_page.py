from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from marblecli.errors import BadInputError, MarbleError
from marblecli.report.page import ConflictReport, ReportTable, render_report, write_report
from marblecli.report.svg import Cell, Row

REPORT = ConflictReport(
    title="Conflicts between rewards: runs/demo",
    summary=("12 measured batches.", "Two & three < four."),
    rewards=("ocr", "aes"),
    steps=(1, 2),
    fights={(0, 1): Cell(-0.5, "-0.50", "-0.6, -0.4")},
    balancers=ReportTable(("direction", "own batch"), (("marble", "+0.41\n[+0.3, +0.5]"),)),
    gradients=ReportTable(("reward", "pull"), (("ocr", "3 %"), ("aes", "4 %"))),
    pair_cosines=(Row("ocr - aes", [-0.5, 0.1]),),
    applied_cosines=(Row("ocr", [0.4, 0.4]), Row("aes", [0.4, None])),
    weights=(Row("ocr", [0.3, 0.4]), Row("aes", [0.7, 0.6])),
    coefficients=(Row("ocr", [0.1, 0.2]), Row("aes", [2.0, 2.1])),
)


class _Tags(HTMLParser):
    """Which tags are open, and those that were."""

    def __init__(self, page):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else():
    page = render_report(REPORT)
    tags = _Tags(page)
    assert tags.open == []
    assert not {"script", "link", "img", "iframe"} & set(tags.seen)
    links = re.findall(r"(?:https?:)?//[^\s\"'<>]+", page)
    assert set(links) == {"http://www.w3.org/2000/svg"}  # a name, which nothing fetches
    assert "url(" not in page
    assert tags.seen.count("svg") == 5


def test_everything_is_on_the_page():
    page = render_report(REPORT)
    for text in ("runs/demo", "12 measured batches.", "ocr - aes", "marble", "3 %", "-0.6, -0.4"):
        assert text in page
    assert "+0.41<br>[+0.3, +0.5]" in page


def test_texts_cannot_break_the_page():
    hostile = replace(REPORT, title="<script>alert(1)</script>", rewards=("$title", "</svg>"))
    page = render_report(hostile)
    assert "<script>" not in page
    assert "Two &amp; three &lt; four." in page
    assert "$title" in page
    assert _Tags(page).open == []


def test_it_is_written_whole(tmp_path):
    file = tmp_path / "report.html"
    file.write_text("old")
    write_report(file, REPORT)
    assert file.read_text(encoding="utf-8") == render_report(REPORT)
    assert list(tmp_path.iterdir()) == [file]


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    file = tmp_path / "report.html"
    file.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("marblecli.runs.atomic.os.fsync", full)
    with pytest.raises(MarbleError, match=r"can't write .*report\.html: No space left on device"):
        write_report(file, REPORT)
    assert file.read_text() == "old"


def test_a_file_that_cannot_be_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="no such folder"):
        write_report(tmp_path / "absent" / "report.html", REPORT)
    with pytest.raises(BadInputError, match="is a folder"):
        write_report(tmp_path, REPORT)
