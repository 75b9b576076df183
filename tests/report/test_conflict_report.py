from __future__ import annotations

import re

import pytest

from marblecli.report.conflict_report import (
    SHOWN_BATCHES,
    ConflictReport,
    Subject,
    conflict_report,
    show_report,
)
from marblecli.report.render import out
from support.findings import REWARDS, findings_of, records_of, without_images


def report_of(batches: int = 3, *, named: tuple[str, ...] = ()) -> ConflictReport:
    subject = Subject("runs/demo", "marble", named)
    return conflict_report(subject, records_of(batches=batches), findings_of())


def shown(capsys, report: ConflictReport, *, details: bool = False, show_all: bool = False) -> str:
    show_report(report, details=details, show_all=show_all)
    text: str = capsys.readouterr().out
    return text


def test_the_verdict_comes_first(capsys) -> None:
    text = shown(capsys, report_of())
    assert text.startswith("On data that it wasn't solved on (the fresh images of 8 batches), the")
    parts = ("conflicts with shapes-reward-f", "Of the 15 pairs", "runs/demo: 3 measured", "┏")
    places = [" ".join(text.split()).index(part) for part in parts[:-1]]
    assert places == sorted(places)
    assert text.index("runs/demo: 3 measured") < text.index("┏")


def test_a_method_that_was_asked_for_has_a_verdict_of_its_own() -> None:
    verdict = report_of(named=("weighted-sum",)).verdict
    assert "the applied direction (marble)" in verdict[0]
    assert "the direction of weighted-sum conflicts" in verdict[3]


def test_a_reward_that_failed_is_part_of_the_verdict() -> None:
    findings = without_images(findings_of("abc"), "b")
    verdict = conflict_report(Subject("runs/demo"), records_of("abc"), findings).verdict
    assert "b scored no image of any batch" in " ".join(verdict)


def test_the_first_screen_fits_a_hundred_columns(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out, "width", 100)
    text = shown(capsys, report_of())
    tables = [line for line in text.splitlines() if line[:1] in "┏┃┡│└"]
    assert max(map(len, tables)) <= 100
    # No name is broken: what doesn't fit stands below, and is counted.
    for name in REWARDS:
        assert f"│ {name} " in text
    assert "5 pairs less in conflict are left out; --details shows them." in text


def test_details_leave_no_pair_out_and_show_the_last_batches(capsys) -> None:
    text = shown(capsys, report_of(SHOWN_BATCHES + 5), details=True)
    assert "pairs less in conflict" not in text
    assert "the whole gradient of fresh images" in text
    assert "5 earlier batches are left out; --all shows them." in text
    assert not re.search(r"│ +5 │", text)
    assert re.search(r"│ +6 │", text)


def test_all_batches_are_shown_where_they_are_asked_for(capsys) -> None:
    text = shown(capsys, report_of(SHOWN_BATCHES + 5), show_all=True)
    assert re.search(r"│ +1 │", text)
    assert "left out; --all" not in text
    assert "whole gradient" not in text


def test_one_reward_has_no_pairs(capsys) -> None:
    report = conflict_report(Subject("runs/demo"), records_of("a"), findings_of("a"))
    text = shown(capsys, report)
    assert "pair" not in text
