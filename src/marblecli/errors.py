"""Errors for the user: each is shown in one line, without a traceback."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails


class MarbleError(Exception):
    """A run failed, for a reason that the user can do something about. Exit code 1."""

    exit_code = 1


class BadInputError(MarbleError):
    """A file, option or value that the user gave can't be used. Exit code 2."""

    exit_code = 2


class LostProcessError(MarbleError):
    """Another process of the run has ended. That process, or its launcher, says why."""


class InterruptedRunError(MarbleError):
    """The user has interrupted a run, and its checkpoint has been saved. Exit code 130."""

    exit_code = 130


class StopRequestedError(MarbleError):
    """The user has asked to stop, between two items of long work. Exit code 130."""

    exit_code = 130


@dataclass(frozen=True)
class Problem:
    """One fault of a recipe, with the dotted key that it is at."""

    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.key}: {self.message}"


class RecipeError(BadInputError):
    """All faults of a recipe at once, one line each."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = [f"{source}: {problem}" for problem in self.problems]
        super().__init__("\n".join(lines))


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """``" (did you mean 'x'?)"`` with the choice nearest to ``name``; empty if none is near."""
    nearest = difflib.get_close_matches(name, list(choices), n=1)
    return f" (did you mean {nearest[0]!r}?)" if nearest else ""


def one_of(choices: Iterable[str]) -> str:
    """The choices in one text: ``a, b, c``."""
    return ", ".join(sorted(choices)) or "none"


def show_value(value: Any) -> str:
    """The value as a user would type it, cut to 60 characters."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def validation_problems(
    error: ValidationError, model: type[BaseModel], prefix: str = ""
) -> list[Problem]:
    """The faults that pydantic found in the tables of ``model``, in words for the user.

    Keys are dotted and start with ``prefix``. For an unknown key, the nearest valid one is named.
    """
    return [
        Problem(prefix + ".".join(str(part) for part in fault["loc"]), _explain(fault, model))
        for fault in error.errors(include_url=False)
    ]


_EXPECTED = {
    "bool": "true or false",
    "dict": "a table",
    "finite": "a finite number",
    "float": "a number",
    "int": "a whole number",
    "list": "a list",
    "mapping": "a table",
    "model": "a table",
    "path": "a path",
    "string": "text",
    "tuple": "a list",
}
"""What was expected, by the first word of pydantic's error type (``int`` of ``int_parsing``)."""

_BOUNDS = {
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "string_pattern_mismatch": "must match {pattern}",
}


def _explain(fault: ErrorDetails, model: type[BaseModel]) -> str:
    kind, context = fault["type"], fault.get("ctx", {})
    if kind == "extra_forbidden":
        return _explain_unknown(fault["loc"], model)
    if kind == "missing":
        return "is required but missing"
    if kind == "too_short":
        return f"needs at least {context['min_length']}"
    if kind == "value_error":
        return str(context["error"])
    expected = _EXPECTED.get(kind.partition("_")[0])
    if kind in _BOUNDS:
        wrong = _BOUNDS[kind].format(**context)
    else:
        wrong = f"expected {expected}" if expected else fault["msg"]
    return f"{wrong}, got {show_value(fault['input'])}"


def _explain_unknown(place: tuple[int | str, ...], model: type[BaseModel]) -> str:
    return unknown_key(str(place[-1]), _fields_at(model, place[:-1]), model)


def unknown_key(name: str, choices: Iterable[str], whole: type[BaseModel]) -> str:
    """The message about a key that isn't one of ``choices``.

    It names the nearest choice; or else a key of that name elsewhere in ``whole``; or else all
    choices.
    """
    choices = tuple(choices)
    hint = did_you_mean(name, choices)
    if not hint:
        homes = [home for home in _dotted_fields(whole) if home.split(".")[-1] == name]
        hint = f" (did you mean {homes[0]!r}?)" if homes else f"; choose from {one_of(choices)}"
    return f"unknown key{hint}"


def _fields_at(model: type[BaseModel], place: tuple[int | str, ...]) -> tuple[str, ...]:
    """The names of the fields of the table at ``place``, which may be inside mappings of tables."""
    table: Any = model
    for part in place:
        fields = getattr(table, "model_fields", None)
        # In a mapping of tables, all tables are of the mapping's last type argument.
        table = fields[part].annotation if fields else get_args(table)[-1]
    return tuple(getattr(table, "model_fields", ()))


def _dotted_fields(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        table: Any = field.annotation
        if hasattr(table, "model_fields"):
            yield from _dotted_fields(table, f"{prefix}{name}.")
