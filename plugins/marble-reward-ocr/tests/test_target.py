from __future__ import annotations

from typing import Any

import pytest

from marble_reward_ocr.target import target_text


@pytest.mark.parametrize(
    ("prompt", "target"),
    [
        ('a sign that says "Open Late"', "Open Late"),
        ('"first" and "second"', "first"),
        ("a \"it's 5 o'clock\" poster", "it's 5 o'clock"),
        ('spaces " kept " here', " kept "),
        ("a sign that says \u201cOpen\u201d", "Open"),
        ('curly \u201cone\u201d then straight "two"', "two"),
        ("a cat", None),
        ("a 'single' quote", None),
        ('a 5" pipe', None),
        ('nothing in ""', None),
        ('blank "   "', None),
        ('the first pair counts: "" and "text"', None),
        ("blank \u201c \u201d", None),
        ("\u201d backwards \u201c", None),
        ("", None),
    ],
)
def test_the_first_quoted_part(prompt: str, target: str | None) -> None:
    assert target_text(prompt, {}) == target


@pytest.mark.parametrize(
    ("given", "target"),
    [("Closed", "Closed"), ("", "Open"), ("  ", "Open"), (None, "Open"), (2024, "Open")],
)
def test_metadata_goes_before_quotes_where_it_holds_text(given: Any, target: str) -> None:
    assert target_text('a sign "Open"', {"target_text": given}) == target


def test_metadata_needs_no_quotes() -> None:
    assert target_text("a sign", {"target_text": "Open"}) == "Open"
