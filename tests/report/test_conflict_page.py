from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from marblecli.conflicts.findings import find
from marblecli.conflicts.judge import Direction
from marblecli.conflicts.record import ConflictRecord, PartsRecord
from marblecli.report.conflict_page import conflict_page, pair_cells, pair_rows, reward_rows
from marblecli.report.conflict_report import Subject, conflict_report
from marblecli.report.page import Page, render_page


def record(step, cosine, applied, names=("ocr", "aes")) -> ConflictRecord:
    return ConflictRecord(
        step=step,
        rewards=names,
        valid=(4, 8),
        norms=(1.0, 1.0),
        gram=((1.0, cosine), (cosine, 1.0)),
        simplex_weights=(0.25, 0.75),
        coefficients=(0.5, 1.5),
        cosines={"applied": applied},
    )


def found_in(records):
    return find(records, [Direction("applied")])


def page_of(records) -> Page:
    findings = found_in(records)
    return conflict_page(records, findings, conflict_report(Subject("demo"), records, findings))


def applied(each: ConflictRecord):
    return each.cosines["applied"]


def test_rows_over_steps_worked_by_hand() -> None:
    records = [record(1, -0.5, (0.1, None)), record(4, 0.25, (0.2, 0.3))]
    pairs = pair_rows(records, found_in(records))
    assert [(row.label, row.values) for row in pairs] == [("ocr - aes", [-0.5, 0.25])]
    assert [row.values for row in reward_rows(records, applied)] == [[0.1, 0.2], [None, 0.3]]


def test_rows_are_of_a_reward_whatever_its_place() -> None:
    records = [record(1, 0.0, (0.1, 0.2)), record(2, 0.0, (0.3, 0.4), ("aes", "ocr"))]
    assert [(row.label, row.values) for row in reward_rows(records, applied)] == [
        ("ocr", [0.1, 0.4]),
        ("aes", [0.2, 0.3]),
    ]


def test_what_is_not_measured_is_grey_and_single_batches_stand_above() -> None:
    cells = pair_cells(found_in([record(step, -0.5, (0.1, 0.2)) for step in range(8)]))
    assert cells[0, 1].value == -0.5
    below = cells[1, 0]
    assert (below.value, below.text, below.note) == (None, "?", "not measured")
    assert (cells[0, 0].value, cells[0, 0].text) == (None, "-")


def test_what_is_not_significant_is_grey_with_its_interval() -> None:
    """Halves that agree with themselves, and now and then with each other."""
    one, zero = ((1.0, 0.0), (0.0, 1.0)), ((0.0, 0.0), (0.0, 0.0))
    records = [
        replace(
            record(step, 0.0, (0.1, 0.2)),
            parts=PartsRecord(
                first=one,
                second=one,
                cross=((0.5, cosine), (cosine, 0.5)),
                pull=zero,
                signal_pull=zero,
            ),
        )
        for step, cosine in enumerate([-0.2, 0.2] * 6)
    ]
    cell = pair_cells(found_in(records))[1, 0]
    assert (cell.value, cell.text) == (None, "+0.00?")
    low, high = map(float, cell.note.split(", "))
    assert low < 0.0 < high


def test_a_page_has_the_verdict_the_tables_and_the_charts() -> None:
    page = page_of([record(1, -0.5, (0.1, 0.2))])
    assert page.verdict[0].startswith("1 batch is too few to tell whether rewards conflict")
    assert page.verdict[1].startswith("It is not known whether the step conflicts")
    titles = [section.title for section in page.sections]
    assert titles[0] == "Which rewards conflict"
    tables = [table.title for section in page.sections for table in section.tables]
    assert "Worst reward's mean cosine; share of batches in conflict" in tables
    assert [section.folded for section in page.sections] == [False] * (len(titles) - 1) + [True]
    assert sum(len(section.charts) for section in page.sections) == 5


def test_it_can_be_drawn_without_a_number() -> None:
    page = render_page(page_of([record(1, np.nan, (None, None))]))
    assert "Conflicts between rewards: demo" in page
    assert not re.search(r"\bnan\b", page)
