"""``--set KEY=VALUE`` for the options of one reward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set an option of the reward; repeatable."),
]


def parse_options(overrides: Sequence[str]) -> dict[str, Any]:
    """The options by key; a value is TOML, or else plain text.

    Raises BadInputError for an item that isn't KEY=VALUE.
    """
    from marblecli.errors import BadInputError
    from marblecli.runs.toml_values import parse_value

    options: dict[str, Any] = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not (key.strip() and equals):
            raise BadInputError(f"--set {text}: expected KEY=VALUE")
        options[key.strip()] = parse_value(value)
    return options
