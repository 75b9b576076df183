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
    """By key; a value is TOML, or else plain text. Raises BadInputError for what has no key."""
    import tomllib

    from marblecli.errors import BadInputError

    options: dict[str, Any] = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not (key.strip() and equals):
            raise BadInputError(f"--set {text}: expected KEY=VALUE")
        try:
            options[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            options[key.strip()] = value
    return options
