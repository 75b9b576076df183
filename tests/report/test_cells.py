from __future__ import annotations

import pytest

from marblecli.conflicts.estimates import NOTHING, Estimate
from marblecli.report.cells import (
    column_notes,
    cosine,
    interval,
    lines,
    marked,
    number,
    share,
    signed,
)
from marblecli.report.tables import Change, Column, Judged, MeanCosine, WeightedCosine
from support.findings import OPEN, SURE

NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.12344, "0.1234"),
        (0.0, "0.0000"),
        (-3.5, "-3.5000"),
        (0.0000123456, "1.235e-05"),
        (12345678.0, "1.235e+07"),
        (None, "-"),
        (NAN, "-"),
    ],
)
def test_numbers_show_what_they_are(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.25, "+0.250"), (0.0, "+0.000"), (-0.25, "-0.250"), (-1e-4, "-1e-04"), (None, "-")],
)
def test_a_cosine_never_loses_its_sign_to_rounding(value: float | None, text: str) -> None:
    assert cosine(value) == text


def test_a_title_has_its_note_and_the_level_of_chance_below_it() -> None:
    assert column_notes(Column("own batch", "estimate")) == ()
    assert column_notes(Column("own batch", "estimate", "8 batches", chance=31 / 32)) == (
        "8 batches",
        "by chance 97 %",
    )


def test_shares_are_percentages() -> None:
    assert (share(0.125), share(1.0), share(NAN)) == ("12 %", "100 %", "-")


@pytest.mark.parametrize(
    ("estimate", "bounds", "text"),
    [
        (Estimate(0.1, 0.05, 0.15), "[+0.05, +0.15]", "+0.100"),
        (Estimate(0.1, -0.05, 0.15), "[-0.05, +0.15]", "+0.100?"),
        (Estimate(0.1, NAN, NAN), "", "+0.100?"),
        (NOTHING, "", "-"),
    ],
)
def test_a_mark_stands_where_nothing_is_significant(
    estimate: Estimate, bounds: str, text: str
) -> None:
    assert (interval(estimate), marked(estimate)) == (bounds, text)


def test_a_mean_cosine_reads_in_lines() -> None:
    found = lines(MeanCosine(SURE, 0.25, "ocr"), "estimate")
    assert [line.text for line in found] == ["-0.500 (25 %)", "[-0.60, -0.40]", "ocr"]
    assert [line.detail for line in found] == [False, False, True]
    assert [line.text for line in lines(MeanCosine(NOTHING, NAN, "ocr"), "estimate")] == ["-"]


@pytest.mark.parametrize(
    ("cell", "kind", "tone"),
    [
        (-0.1, "cosine", "negative"),
        (0.1, "cosine", "plain"),
        (-0.1, "number", "plain"),
        (MeanCosine(SURE), "estimate", "negative"),
        (MeanCosine(Estimate(-0.1, -0.3, 0.1)), "estimate", "plain"),
        (Judged("conflict", SURE), "verdict", "negative"),
        (Judged("not significant", OPEN), "verdict", "plain"),
        (WeightedCosine(-0.1, 0.5), "weighted", "negative"),
    ],
)
def test_only_conflicts_stand_out_and_means_only_where_they_are_significant(
    cell, kind, tone
) -> None:
    assert lines(cell, kind)[0].tone == tone


@pytest.mark.parametrize(
    ("cell", "kind", "texts"),
    [
        ("ocr", "text", ["ocr"]),
        ("", "text", ["-"]),
        (None, "estimate", ["-"]),
        (12, "count", ["12"]),
        (0.5, "share", ["50 %"]),
        (0.5, "number", ["0.5000"]),
        (WeightedCosine(0.7071, 0.25), "weighted", ["+0.707 (0.25)"]),
        (Judged("conflict", SURE), "verdict", ["conflict -0.50", "[-0.60, -0.40]"]),
        (Judged("not significant", NOTHING), "verdict", ["not significant"]),
    ],
)
def test_every_kind_of_cell_has_its_words(cell, kind, texts) -> None:
    assert [line.text for line in lines(cell, kind)] == texts


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0123, "+0.012"),
        (-0.5, "-0.500"),
        (0.0, "+0.000"),
        (-2e-4, "-0.0002"),
        (12345.0, "+1.23e+04"),
    ],
)
def test_a_change_never_loses_its_sign_to_rounding(value: float, text: str) -> None:
    assert signed(value) == text


@pytest.mark.parametrize(
    ("change", "texts", "tone"),
    [
        (Change(0.02, 0.01, 0.03), ["+0.020 \u2191", "[+0.010, +0.030]"], "positive"),
        (Change(-0.02, -0.03, -0.01), ["-0.020 \u2193", "[-0.030, -0.010]"], "negative"),
        (Change(0.02, -0.01, 0.03), ["+0.020", "[-0.010, +0.030]"], "plain"),
        (Change(0.02, NAN, NAN), ["+0.020"], "plain"),
        (Change(NAN, NAN, NAN), ["-"], "plain"),
    ],
)
def test_an_arrow_marks_a_significant_change(change: Change, texts: list[str], tone: str) -> None:
    found = lines(change, "change")
    assert [line.text for line in found] == texts
    assert found[0].tone == tone
