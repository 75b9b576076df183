"""An option schema (any pydantic model) as rows of a table: key, value, default, meaning.

What stands there comes from the model's JSON schema: bounds, choices and defaults as validated,
descriptions from the docstrings below its attributes (``use_attribute_docstrings``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

from pydantic import BaseModel

from reference.markdown import code, prose, table

Schema = Mapping[str, Any]

OTHER_KEYS = "options"
"""The field of a table in which the keys are gathered that it doesn't know itself."""

_LONGEST_TEXT = 80
_HEADER = ("key", "value", "default", "what it does")
_TYPES = {
    "integer": "whole number",
    "number": "number",
    "boolean": "`true` or `false`",
    "string": "text",
}
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "multipleOf": "a multiple of {}",
    "pattern": "matching `{}`",
    "minItems": "at least {} of them",
}


@dataclass(frozen=True)
class NamedThing:
    """What a recipe chooses by its name and gives options to: a reward, a method, a family."""

    name: str
    summary: str
    options: type[BaseModel]


def things_section(title: str, intro: str, things: Sequence[NamedThing]) -> str:
    """A section with one heading and one table of options for each thing."""
    parts = [f"## {title}", intro]
    for thing in things:
        rows = option_table(thing.options) or "It has no options."
        parts += [f"### `{thing.name}`", prose(thing.summary), rows]
    return "\n\n".join(parts)


def option_table(options: type[BaseModel]) -> str:
    """The table of a model's own fields; empty if it has none. Nested models are left out."""
    schema = options.model_json_schema()
    required = schema.get("required", ())
    rows = [
        _row(key, {**value, "description": _description(options, key)}, key in required)
        for key, value in schema.get("properties", {}).items()
        if key not in nested_models(options)
    ]
    return table(_HEADER, rows) if rows else ""


def nested_models(options: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The fields that are tables of their own, or hold some: their models, by name of the field."""
    found = {name: _models(field.annotation) for name, field in options.model_fields.items()}
    return {name: models[0] for name, models in found.items() if models}


def undescribed(options: type[BaseModel]) -> list[str]:
    """The fields without a description, nested models aside."""
    nested = nested_models(options)
    own = [name for name in options.model_fields if name not in nested]
    return [name for name in own if not _description(options, name)]


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models(part)]


def _description(options: type[BaseModel], name: str) -> str:
    """The description of a field, or of the one that it overrides in a base class."""
    bases = [base for base in options.__mro__ if issubclass(base, BaseModel)]
    fields = [base.model_fields[name] for base in bases if name in base.model_fields]
    return next((field.description for field in fields if field.description), "")


def _row(key: str, schema: Schema, is_required: bool) -> tuple[str, ...]:
    meaning = prose(schema["description"])
    if key == OTHER_KEYS:
        return ("any other key", "", "", meaning)
    default = "required" if is_required else code(_literal(schema.get("default")))
    return (code(key), describe_value(schema), default, meaning)


def describe_value(schema: Schema) -> str:
    """What may be set, in words, from a JSON schema: its type or choices, and its bounds."""
    if "anyOf" in schema:
        choices = [part for part in schema["anyOf"] if part.get("type") != "null"]
        return " or ".join(map(describe_value, choices))
    if "enum" in schema or "const" in schema:
        return ", ".join(code(_literal(one)) for one in schema.get("enum", [schema.get("const")]))
    bounds = [words.format(_bound(schema[key])) for key, words in _BOUNDS.items() if key in schema]
    return ", ".join([_type(schema), *bounds])


def _type(schema: Schema) -> str:
    kind = str(schema.get("type", ""))
    if kind == "array":
        return f"list of {describe_value(schema.get('items', {}))}"
    if kind == "object":
        values = schema.get("additionalProperties")
        return f"table by name: {describe_value(values)}" if isinstance(values, dict) else "table"
    if schema.get("format") == "path":
        return "path"
    return _TYPES.get(kind, kind)


def _bound(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _literal(value: Any) -> str:
    """As TOML writes it; nothing for what isn't set; only the beginning of a long text."""
    if value is None or value == {}:
        return ""
    if isinstance(value, str):
        value = shorten(value, _LONGEST_TEXT, placeholder=" ...")
    return json.dumps(value, ensure_ascii=False)
