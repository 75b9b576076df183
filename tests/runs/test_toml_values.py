from __future__ import annotations

from typing import Any

import pytest

from marblecli.runs.toml_values import dotted_values, format_value, parse_value


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


@pytest.mark.parametrize(
    "value",
    [1, 0.5, 1e-4, True, 'a "quoted" text', "", [1, 2], [{"a": "b", "c d": [0.1]}], {}, {"x": 1}],
)
def test_a_value_is_read_as_it_was_written(value: object) -> None:
    assert parse_value(format_value(value)) == value


def test_values_have_dotted_keys() -> None:
    table = {"a": {"b": 1, "c": {"d e": 2}}, "f.g": 3, "h": {}}
    assert dict(dotted_values(table)) == {"a.b": 1, 'a.c."d e"': 2, "f.g": 3, "h": {}}
