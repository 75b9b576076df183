"""Methods as the user writes them: ``marble``, ``single:ocr``, ``marble,memory=0.9``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from marblecli.errors import BadInputError, did_you_mean, one_of, validation_problems
from marblecli.methods.checks import balance_problems
from marblecli.methods.host import discover_methods, find_method
from marblecli.methods.method import MethodSpec
from marblecli.runs.toml_values import parse_value
from marblecli.settings import BalanceSettings


def parse_method(text: str, others: Iterable[str] = ()) -> BalanceSettings:
    """``METHOD`` or ``METHOD,key=value,...``, with the keys of a recipe's table ``[balance]``.

    ``METHOD:VALUE`` sets the option that the method names as its shorthand, as ``single:REWARD``
    does. Raises BadInputError, which lists the methods and ``others`` too, if the method or a key
    is unknown, or a library isn't installed.
    """
    head, *pairs = text.split(",")
    name, shorthand = _head(head, others)
    table: dict[str, Any] = {"method": name, **shorthand}
    for pair in pairs:
        _set(table, pair, text)
    try:
        settings = BalanceSettings.model_validate(table)
    except ValidationError as error:
        problem = validation_problems(error, BalanceSettings)[0]
        raise BadInputError(f"method {text}: {problem}") from error
    for problem in balance_problems(settings, prefix=""):
        raise BadInputError(f"method {text}: {problem}{_example(find_method(name))}")
    return settings


def _head(head: str, others: Iterable[str]) -> tuple[str, dict[str, str]]:
    """The method's name, and the option that stands behind its colon, if any."""
    try:
        find_method(head)
    except BadInputError:
        name, colon, value = head.partition(":")
        catalog = discover_methods()
        if colon and name in catalog.names() and (key := catalog.get(name).shorthand):
            return name, {key: value}
        choices = {*catalog.names(), *others}
        hint = did_you_mean(head, choices)
        raise BadInputError(
            f"unknown method {head!r}{hint}; there are: {one_of(choices)}"
        ) from None
    return head, {}


def _example(spec: MethodSpec) -> str:
    return f"; write {spec.name}:{spec.shorthand.upper()}" if spec.shorthand else ""


def _set(table: dict[str, Any], pair: str, text: str) -> None:
    """Set one ``key=value``, or ``key.REWARD=value``, in ``table``."""
    key, equals, value = pair.partition("=")
    outer, _, reward = key.strip().partition(".")
    if not (equals and outer):
        raise BadInputError(f"method {text}: expected METHOD,key=value,... and not {pair!r}")
    inner = table.setdefault(outer, {}) if reward else table
    if not isinstance(inner, dict):
        raise BadInputError(f"method {text}: {outer} is set already")
    inner[reward or outer] = parse_value(value.strip())
