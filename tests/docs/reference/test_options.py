from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from reference.options import (
    NamedThing,
    describe_value,
    nested_models,
    option_table,
    things_section,
    undescribed,
)


class _Table(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class Inner(_Table):
    depth: int = 0


class Outer(_Table):
    share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """A share
    of something."""
    size: int | Literal["auto"]
    """A size."""
    folder: Path | None = None
    names: tuple[str, ...] = ("a", "b")
    floors: Mapping[str, float] = {}
    question: str = "word " * 60
    inner: Inner = Inner()
    inners: Mapping[str, Inner] = {}
    options: Mapping[str, Any] = {}
    """Whatever else."""


def rows() -> dict[str, str]:
    lines = option_table(Outer).splitlines()[2:]
    return {line.split("|")[1].strip(): line for line in lines}


def test_bounds_defaults_and_descriptions_are_those_of_the_model() -> None:
    assert rows()["`share`"] == (
        "| `share` | number, above 0, at most 1 | `0.5` | A share of something. |"
    )


def test_a_field_without_default_is_required() -> None:
    assert rows()["`size`"] == '| `size` | whole number or `"auto"` | required | A size. |'


def test_what_is_not_set_has_no_default() -> None:
    assert rows()["`folder`"] == "| `folder` | path |  |  |"
    assert rows()["`names`"] == '| `names` | list of text | `["a", "b"]` |  |'
    assert rows()["`floors`"] == "| `floors` | table by name: number |  |  |"


def test_only_the_beginning_of_a_long_default_is_shown() -> None:
    assert rows()["`question`"].endswith(' word ..."` |  |')
    assert len(rows()["`question`"]) < 120


def test_keys_that_are_passed_on_are_one_row() -> None:
    assert rows()["any other key"] == "| any other key |  |  | Whatever else. |"


def test_nested_tables_are_no_rows() -> None:
    assert nested_models(Outer) == {"inner": Inner, "inners": Inner}
    assert not {"`inner`", "`inners`"} & rows().keys()


def test_fields_without_description_are_found() -> None:
    assert undescribed(Outer) == ["folder", "names", "floors", "question"]


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (
            {"type": "integer", "minimum": 16, "multipleOf": 8},
            "whole number, at least 16, a multiple of 8",
        ),
        ({"type": "number", "maximum": 86400.0}, "number, at most 86400"),
        ({"enum": ["a", 1, True]}, '`"a"`, `1`, `true`'),
        ({"type": "string", "pattern": "^a"}, "text, matching `^a`"),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, "`true` or `false`"),
    ],
)
def test_values_are_described_in_words(schema: dict[str, Any], words: str) -> None:
    assert describe_value(schema) == words


def test_an_overridden_field_keeps_its_description() -> None:
    class Half(Outer):
        share: float = 0.25

    assert "| `share` | number | `0.25` | A share of something. |" in option_table(Half)


def test_named_things_have_a_heading_each() -> None:
    class Empty(BaseModel):
        pass

    things = [NamedThing("inner", "It is inside.", Inner), NamedThing("plain", "As it is.", Empty)]
    section = things_section("Things", "All of them.", things)
    assert section.startswith("## Things\n\nAll of them.\n\n### `inner`\n\nIt is inside.\n\n| key")
    assert section.endswith("### `plain`\n\nAs it is.\n\nIt has no options.")
