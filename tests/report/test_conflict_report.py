from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from marblecli.conflicts.findings import find
from marblecli.conflicts.views import Direction
from marblecli.report.conflict_report import conflict_report
from marblecli.report.page import render_report
from marblecli.types import ConflictRecord


def record(step, cosine, applied, names=("ocr", "aes")):
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


def report_of(records):
    return conflict_report("demo", ["summary"], records, find(records, [Direction("applied")]))


def test_rows_over_steps_worked_by_hand():
    report = report_of([record(1, -0.5, (0.1, None)), record(4, 0.25, (0.2, 0.3))])
    assert report.steps == (1, 4)
    assert [(row.label, row.values) for row in report.pair_cosines] == [("ocr - aes", [-0.5, 0.25])]
    assert [row.values for row in report.applied_cosines] == [[0.1, 0.2], [None, 0.3]]
    assert [row.values for row in report.weights] == [[0.25, 0.25], [0.75, 0.75]]
    assert [row.values for row in report.coefficients] == [[0.5, 0.5], [1.5, 1.5]]


def test_rows_are_of_a_reward_whatever_its_place():
    report = report_of([record(1, 0.0, (0.1, 0.2)), record(2, 0.0, (0.3, 0.4), ("aes", "ocr"))])
    assert [(row.label, row.values) for row in report.applied_cosines] == [
        ("ocr", [0.1, 0.4]),
        ("aes", [0.2, 0.3]),
    ]


def test_what_cannot_be_told_is_grey_and_single_batches_stand_above():
    report = report_of([record(step, -0.5, (0.1, 0.2)) for step in range(8)])
    assert report.fights[0, 1].value == -0.5
    assert (report.fights[1, 0].value, report.fights[1, 0].text) == (None, "?")
    assert report.fights[0, 0].value is None


def test_what_may_be_nothing_is_grey_with_its_interval():
    """Halves that agree with themselves, and now and then with each other."""
    records = [
        replace(
            record(step, 0.0, (0.1, 0.2)),
            parts={
                "first": ((1.0, 0.0), (0.0, 1.0)),
                "second": ((1.0, 0.0), (0.0, 1.0)),
                "cross": ((0.5, cosine), (cosine, 0.5)),
                "pull": ((0.0, 0.0), (0.0, 0.0)),
                "signal_pull": ((0.0, 0.0), (0.0, 0.0)),
            },
        )
        for step, cosine in enumerate([-0.2, 0.2] * 6)
    ]
    cell = report_of(records).fights[1, 0]
    assert (cell.value, cell.text) == (None, "+0.00?")
    low, high = map(float, cell.note.split(", "))
    assert low < 0.0 < high


def test_it_can_be_rendered():
    page = render_report(report_of([record(1, np.nan, (None, None))]))
    assert "Conflicts between rewards: demo" in page
    assert not re.search(r"\bnan\b", page)
