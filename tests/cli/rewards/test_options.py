from __future__ import annotations

from typing import Any

import pytest

from marblecli.cli.rewards.options import parse_options
from marblecli.errors import BadInputError


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("size=3", {"size": 3}),
        ("gain = 0.5", {"gain": 0.5}),
        ("strict=true", {"strict": True}),
        ("sides=[1, 2]", {"sides": [1, 2]}),
        ("mode=slow", {"mode": "slow"}),
        ('mode="slow"', {"mode": "slow"}),
        ("url=http://a:1/b?c=d", {"url": "http://a:1/b?c=d"}),
        ("model=", {"model": ""}),
    ],
)
def test_values_are_toml_or_plain_text(text: str, options: dict[str, Any]) -> None:
    assert parse_options([text]) == options


def test_the_last_of_a_key_counts() -> None:
    assert parse_options(["a=1", "b=2", "a=3"]) == {"a": 3, "b": 2}
    assert parse_options([]) == {}


@pytest.mark.parametrize("text", ["size", "=3", " =3", ""])
def test_what_has_no_key_is_named(text: str) -> None:
    with pytest.raises(BadInputError, match="expected KEY=VALUE"):
        parse_options([text])
