"""Balancers as the user writes them: ``marble``, ``single:ocr``, ``marble,memory=0.9``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from marblecli.errors import BadInputError, did_you_mean, one_of, validation_problems
from marblecli.methods.balance import METHODS, check_available
from marblecli.runs.toml_values import parse_value
from marblecli.settings import BalanceSettings

METHOD_NAMES = (*METHODS, "sequential")
"""What a recipe's ``balance.method`` may be."""

_SINGLE = "single:"


def parse_balancer(text: str, others: Iterable[str] = ()) -> BalanceSettings:
    """``METHOD`` or ``METHOD,key=value,...``, with the keys of a recipe's table ``[balance]``.

    ``single:REWARD`` stands for ``single,reward=REWARD``. Raises BadInputError, which lists the
    methods and ``others`` too, if the method or a key is unknown or the library isn't installed.
    """
    head, *pairs = text.split(",")
    table: dict[str, Any] = {"method": head}
    if head.startswith(_SINGLE):
        table = {"method": "single", "reward": head.removeprefix(_SINGLE)}
    elif head not in METHOD_NAMES:
        choices = {*METHOD_NAMES, *others}
        hint = did_you_mean(head, choices)
        raise BadInputError(f"unknown balancer {head!r}{hint}; there are: {one_of(choices)}")
    for pair in pairs:
        _set(table, pair, text)
    try:
        settings = BalanceSettings.model_validate(table)
    except ValidationError as error:
        problem = validation_problems(error, BalanceSettings)[0]
        if problem.key:
            raise BadInputError(f"balancer {text}: {problem}") from error
        hint = "; write single:REWARD" if head == "single" else ""
        raise BadInputError(f"balancer {text}: {problem.message}{hint}") from error
    check_available(settings)
    return settings


def _set(table: dict[str, Any], pair: str, text: str) -> None:
    """Set one ``key=value``, or ``key.REWARD=value``, in ``table``."""
    key, equals, value = pair.partition("=")
    outer, _, reward = key.strip().partition(".")
    if not (equals and outer):
        raise BadInputError(f"balancer {text}: expected METHOD,key=value,... and not {pair!r}")
    inner = table.setdefault(outer, {}) if reward else table
    if not isinstance(inner, dict):
        raise BadInputError(f"balancer {text}: {outer} is set already")
    inner[reward or outer] = parse_value(value)
