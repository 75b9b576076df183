from __future__ import annotations

from typing import Any

import pytest

from marblecli.runs.toml_values import parse_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        (" 0.5 ", 0.5),
        (".5", ".5"),
        ("true", True),
        ("[1, 2.5]", [1, 2.5]),
        ('{a = "b"}', {"a": "b"}),
        ('"fr"', "fr"),
        (" fr ", "fr"),
        ("a/b.txt", "a/b.txt"),
        ("http://a:1/b?c=d", "http://a:1/b?c=d"),
        ("", ""),
        ("1\nother = 2", "1\nother = 2"),
    ],
)
def test_a_value_is_toml_or_else_text(text: str, value: Any) -> None:
    assert parse_value(text) == value
