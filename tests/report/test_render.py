from __future__ import annotations

import math
from io import StringIO

import pytest
from rich.console import Console

from marblecli.report.render import cosine, number, or_none, share, table

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
    [
        (0.25, "+0.250"),
        (0.0, "+0.000"),
        (-0.25, "[red]-0.250[/red]"),
        (-0.0001, "[red]-1e-04[/red]"),
        (None, "-"),
        (NAN, "-"),
    ],
)
def test_a_negative_cosine_is_red_and_never_rounds_to_zero(value: float | None, text: str) -> None:
    assert cosine(value) == text


def test_shares_are_percentages() -> None:
    assert (share(0.125), share(1.0), share(NAN)) == ("12 %", "100 %", "-")


def test_json_has_null_for_what_is_not_finite() -> None:
    assert (or_none(0.5), or_none(math.inf), or_none(NAN)) == (0.5, None, None)


def test_names_with_brackets_are_no_markup() -> None:
    stream = StringIO()
    made = table("title", "reward", ["[bold]ocr"])
    Console(file=stream, width=80).print(made)
    assert "[bold]ocr" in stream.getvalue()
