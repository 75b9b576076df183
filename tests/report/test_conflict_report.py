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
from support.findings import findings_of, records_of, without_images

FIVE = (
    "shapes-colour",
    "shapes-composition",
    "shapes-letters",
    "shapes-aesthetic",
    "shapes-compressibility",
)
TEN = (*FIVE, "pickscore", "hpsv2", "clipscore", "imagereward", "a-reward-with-quite-a-long-name")


def report_of(batches: int = 3, *, named: tuple[str, ...] = ()) -> ConflictReport:
    subject = Subject("runs/demo", "marble", named)
    return conflict_report(subject, records_of(batches=batches), findings_of())


def shown(capsys, report: ConflictReport, *, details: bool = False, show_all: bool = False) -> str:
    show_report(report, details=details, show_all=show_all)
    text: str = capsys.readouterr().out
    return text


def test_the_verdict_comes_first(capsys) -> None:
    text = " ".join(shown(capsys, report_of(8)).split())
    assert text.startswith("None of 15 pairs of rewards has a significant conflict; on its own bat")
    parts = (
        "On data that it wasn't solved on (the fresh images of 8 batches), the step (marble)",
        "What to do: ",
        "runs/demo: 8 measured",
        "┏",
        "Of the 15 pairs",
    )
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_a_method_that_was_asked_for_has_a_verdict_of_its_own() -> None:
    verdict = report_of(named=("weighted-sum",)).verdict
    assert "the step (marble)" in verdict[1]
    assert "the direction of weighted-sum conflicts" in verdict[4]


def test_a_reward_that_failed_is_part_of_the_verdict() -> None:
    findings = without_images(findings_of("abc"), "b")
    verdict = conflict_report(Subject("runs/demo"), records_of("abc"), findings).verdict
    assert "b scored no image of any batch" in " ".join(verdict)


@pytest.mark.parametrize("details", [False, True])
@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("rewards", [FIVE, TEN], ids=["5", "10"])
def test_everything_fits_and_no_word_is_broken(
    rewards: tuple[str, ...], width: int, details: bool, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out, "width", width)
    findings = findings_of(rewards)
    report = conflict_report(Subject("runs/demo", "marble"), records_of(rewards, 12), findings)
    lines = shown(capsys, report, details=details).splitlines()
    assert max(map(len, lines)) <= width
    cells = [
        cell.strip() for line in lines if line[:1] in ("│", "┃") for cell in re.split("[│┃]", line)
    ]
    whole = {name for name in rewards if name in cells}
    assert whole == set(rewards)
    # No cell is half of a name, a value or a verdict.
    halves = re.compile(r"\w-$|^%|^\]|^significant$|^[^\[]*[0-9]\]$")
    assert not [cell for cell in cells if halves.search(cell)]
    prose = [line for line in lines if line[:1] not in ("│", "┃")]
    assert not [line for line in prose if re.search(r"^ *%|^interval", line)]
    left = len(findings.pairs) - 10
    assert (f"{left} pairs less in conflict" in "\n".join(lines)) == (left > 0 and not details)


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
