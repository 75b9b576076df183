"""The sound part of a recipe that has faults, so that every check can speak at once.

A recipe with a fault in one field is no :class:`Recipe`, and yet all of its other faults should be
reported together with that one. :func:`sound_part` stands in for the recipe: each table is
validated by itself, without its faulty fields, and has its model's own defaults. Reading a field
that is faulty raises :class:`FaultyFieldError`: what depends on it can't be told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from functools import cache
from typing import Any, TypeVar, cast, get_args

from pydantic import BaseModel, ValidationError, create_model

from marblecli.settings import Recipe

Settings = TypeVar("Settings", bound=BaseModel)


class FaultyFieldError(Exception):
    """A check reads a field that is faulty itself, and is reported as such."""


def sound_part(table: Mapping[str, Any]) -> Recipe:
    """What can be read of the recipe that ``table`` holds.

    It is typed as a recipe for the checks, which read its fields as they read a sound recipe's.
    """
    return cast("Recipe", _Sound(_fields(Recipe, table)))


def sound_settings(model: type[Settings], table: Any) -> Settings | None:
    """The settings of one table, with the model's defaults in place of its faulty fields.

    None if it isn't a table, if it needs one of these fields, or if the others don't go together.
    """
    if not isinstance(table, Mapping):
        return None
    try:
        return model.model_validate(_without_faults(model, table)[0])
    except ValidationError:
        return None


class _Sound:
    """Fields of a table by name; those that aren't there are faulty."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_fields"][name]
        except KeyError:
            raise FaultyFieldError(name) from None


def _fields(model: type[BaseModel], table: Mapping[str, Any]) -> dict[str, Any]:
    """Every field of a recipe that is a table, or tables by name, as far as it is sound."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        value, kind = table.get(name, {}), field.annotation
        if not isinstance(value, Mapping):
            continue
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found[name] = _section(kind, value)
        else:
            # A mapping's tables are its last type argument, whatever the key.
            kind = get_args(kind)[-1]
            found[name] = {key: _section(kind, item) for key, item in value.items()}
    return found


def _section(model: type[BaseModel], table: Any) -> _Sound:
    """One table without its faulty fields; nothing of it if it is faulty as a whole."""
    if not isinstance(table, Mapping):
        return _Sound({})
    kept, faulty = _without_faults(model, table)
    try:
        settings = _all_optional(model).model_validate(kept)
    except ValidationError:
        # Without the faulty fields the others don't go together: nothing can be told of them.
        return _Sound({})
    return _Sound({name: getattr(settings, name) for name in model.model_fields.keys() - faulty})


def _without_faults(
    model: type[BaseModel], table: Mapping[str, Any]
) -> tuple[dict[str, Any], set[str]]:
    """The entries of the table that are sound by themselves, and the fields that are faulty."""
    kept, faulty = deepcopy(dict(table)), set[str]()
    try:
        model.model_validate(kept)
    except ValidationError as error:
        for fault in error.errors():
            if fault["loc"]:
                faulty |= _drop(kept, fault["loc"])
    return kept, faulty


def _drop(table: dict[str, Any], place: Iterable[int | str]) -> set[str]:
    """Remove the innermost entry at ``place``; the field's name if it is one of the table's own."""
    first, *rest = place
    name = str(first)
    inner = table.get(name)
    if rest and isinstance(inner, dict) and rest[0] in inner:
        _drop(inner, rest)
        return set()
    table.pop(name, None)
    return {name}


@cache
def _all_optional(model: type[BaseModel]) -> type[BaseModel]:
    """The same model with None for fields that it needs: a faulty one may be missing."""
    needed = {
        name: (field.annotation | None, None)
        for name, field in model.model_fields.items()
        if field.is_required() and field.annotation is not None
    }
    return create_model(model.__name__, __base__=model, **cast("Any", needed))
