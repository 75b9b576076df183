"""Pages in a real browser: on a wide screen and on a phone's, light and dark."""

from __future__ import annotations

from pathlib import Path

import pytest

from marblecli.report.comparison_page import comparison_page
from marblecli.report.conflict_page import conflict_page
from marblecli.report.conflict_report import Subject, conflict_report
from marblecli.report.page import Page, render_page
from marblecli.report.run_page import run_page
from support.browser import BROWSER, load
from support.findings import findings_of, records_of, without_images
from support.run_data import bare_run, evaluations, metrics, run_data

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no browser is installed")

REWARDS = ("shapes-compressibility", "shapes-composition", "a-reward-with-quite-a-long-name-ocr")
SMALLEST = 9.5
"""Pixels of letters that can be read."""


def conflicts() -> Page:
    records = records_of(REWARDS, batches=12)
    findings = without_images(findings_of(REWARDS), REWARDS[1])
    report = conflict_report(Subject("runs/of/a/long/path/demo", "marble"), records, findings)
    return conflict_page(records, findings, report)


def compared() -> Page:
    return comparison_page(
        [run_data(), run_data("runs/" + "long-" * 20, evaluations=evaluations((0, 10))), bare_run()]
    )


PAGES = {
    "conflicts": (conflicts, (*REWARDS, "scored no image", "whole gradient of fresh images")),
    "run": (
        lambda: run_page(run_data("runs/" + "x" * 90, metrics=metrics(300))),
        ("rose", "Where the time went", "The same prompts", "Environment"),
    ),
    "new run": (lambda: run_page(bare_run()), ("There is no evaluation yet.",)),
    "several runs": (compared, ("Paired differences", "3 runs compared")),
}


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("width", "dark"), [(375, False), (1200, True)])
def test_everybody_can_read_all_of_it(name: str, width: int, dark: bool, tmp_path: Path) -> None:
    make, texts = PAGES[name]
    loaded = load(render_page(make()), width, tmp_path, dark=dark)
    assert loaded.console == []
    assert loaded.width <= width
    assert loaded.cut == []
    assert loaded.unnamed == []
    assert loaded.pale == []
    assert loaded.smallest == 0 or loaded.smallest >= SMALLEST
    assert (loaded.background == "rgb(255, 255, 255)") is not dark
    for text in texts:
        assert text in loaded.seen


def test_the_slider_goes_through_the_steps(tmp_path: Path) -> None:
    loaded = load(render_page(run_page(run_data())), 375, tmp_path)
    assert loaded.frames == {
        "step 5": ["Base model: a cat", "Step 5: a cat"],
        "step 10": ["Base model: a cat", "Step 10: a cat"],
    }


def test_a_script_in_a_prompt_never_runs(tmp_path: Path) -> None:
    """Even if it came into the page unescaped, the page's own policy would stop it."""
    page = render_page(run_page(run_data("<script>missing()</script>")))
    loaded = load(page, 375, tmp_path)
    assert loaded.console == []
    assert "<script>missing()</script>" in loaded.seen
    broken = page.replace("</header>", "<script>document.title = missing()</script></header>")
    (refused,) = load(broken, 375, tmp_path).console
    assert "Content Security Policy" in refused


def test_what_is_wrong_with_a_page_is_seen(tmp_path: Path) -> None:
    page = """<body><table style="width: 900px"><tr><td>wide</td></tr></table>
    <p style="color: #aaa">pale</p><img src="data:,">
    <script>missing()</script></body>"""
    loaded = load(page, 375, tmp_path)
    assert loaded.width > 375
    assert "wide" in loaded.cut
    assert loaded.pale == ["pale (2.3)"]
    assert len(loaded.unnamed) == 1
    assert "missing is not defined" in " ".join(loaded.console)
