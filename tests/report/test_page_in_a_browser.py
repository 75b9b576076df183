"""The page in a real browser, on a wide screen and on a phone's."""

from __future__ import annotations

from pathlib import Path

import pytest

from marblecli.report.conflict_page import conflict_page
from marblecli.report.conflict_report import Subject, conflict_report
from marblecli.report.page import render_page
from support.browser import BROWSER, load
from support.findings import findings_of, records_of, without_images

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no browser is installed")

REWARDS = ("shapes-compressibility", "shapes-composition", "a-reward-with-quite-a-long-name-ocr")


@pytest.fixture(scope="module")
def page() -> str:
    records = records_of(REWARDS, batches=12)
    findings = without_images(findings_of(REWARDS), REWARDS[1])
    report = conflict_report(Subject("runs/of/a/long/path/demo", "marble"), records, findings)
    return render_page(conflict_page(records, findings, report))


@pytest.mark.parametrize("width", [375, 1200])
def test_nothing_is_cut_and_the_console_is_silent(page: str, width: int, tmp_path: Path) -> None:
    loaded = load(page, width, tmp_path)
    assert loaded.console == []
    assert loaded.width <= width
    assert loaded.tables == 8
    assert loaded.cut == []
    for text in (*REWARDS, "scored no image", "whole gradient of fresh images"):
        assert text in loaded.seen


def test_what_is_wrong_with_a_page_is_seen(tmp_path: Path) -> None:
    page = """<body><table style="width: 900px"><tr><td>wide</td></tr></table>
    <script>missing()</script></body>"""
    loaded = load(page, 375, tmp_path)
    assert loaded.width > 375
    assert "wide" in loaded.cut
    assert "missing is not defined" in " ".join(loaded.console)
