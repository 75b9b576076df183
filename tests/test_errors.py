from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from marblecli.errors import (
    BadInputError,
    InterruptedRunError,
    MarbleError,
    Problem,
    RecipeError,
    did_you_mean,
    one_of,
    show_value,
    validation_problems,
)


class Leaf(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    size: Annotated[int, Field(ge=2, multiple_of=2)] = 2
    mode: Literal["fast", "slow"] = "fast"
    scale: float = 1.0
    names: tuple[str, ...] = ()


class Tree(BaseModel):
    model_config = ConfigDict(extra="forbid")

    leaf: Leaf = Leaf()
    leaves: Annotated[Mapping[str, Leaf], Field(min_length=1)]

    @field_validator("leaves")
    @classmethod
    def _no_thorn(cls, leaves: Mapping[str, Leaf]) -> Mapping[str, Leaf]:
        if "thorn" in leaves:
            raise ValueError("a thorn is no leaf")
        return leaves


def problems(table: object) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        Tree.model_validate(table)
    return [str(problem) for problem in validation_problems(caught.value, Tree)]


@pytest.mark.parametrize(
    ("leaf", "line"),
    [
        ({"size": "many"}, 'leaf.size: expected a whole number, got "many"'),
        ({"size": 2.5}, "leaf.size: expected a whole number, got 2.5"),
        ({"size": 0}, "leaf.size: must be at least 2, got 0"),
        ({"size": 5}, "leaf.size: must be a multiple of 2, got 5"),
        ({"mode": "fats"}, "leaf.mode: must be 'fast' or 'slow', got \"fats\""),
        ({"scale": "x"}, 'leaf.scale: expected a number, got "x"'),
        ({"scale": float("inf")}, "leaf.scale: expected a finite number, got Infinity"),
        ({"names": "ocr"}, 'leaf.names: expected a list, got "ocr"'),
        ({"names": [1]}, "leaf.names.0: expected text, got 1"),
        ({"sise": 4}, "leaf.sise: unknown key (did you mean 'size'?)"),
        ({"zzz": 4}, "leaf.zzz: unknown key; choose from mode, names, scale, size"),
        (3, "leaf: expected a table, got 3"),
    ],
)
def test_a_fault_is_one_line_with_its_key_and_value(leaf: object, line: str) -> None:
    assert problems({"leaf": leaf, "leaves": {"a": {}}}) == [line]


def test_keys_inside_named_tables_are_matched_with_those_tables_fields() -> None:
    assert problems({"leaves": {"oak": {"moed": "fast"}}}) == [
        "leaves.oak.moed: unknown key (did you mean 'mode'?)"
    ]


def test_the_fault_of_a_key_in_the_wrong_table_names_the_right_one() -> None:
    assert problems({"scale": 2, "leaves": {"a": {}}}) == [
        "scale: unknown key (did you mean 'leaf.scale'?)"
    ]


def test_missing_and_empty_tables_and_validators_have_messages() -> None:
    assert problems({}) == ["leaves: is required but missing"]
    assert problems({"leaves": {}}) == ["leaves: needs at least 1"]
    assert problems({"leaves": {"thorn": {}}}) == ["leaves: a thorn is no leaf"]


def test_keys_start_with_the_prefix() -> None:
    with pytest.raises(ValidationError) as caught:
        Leaf.model_validate({"size": 1})
    (problem,) = validation_problems(caught.value, Leaf, "rewards.x.")
    assert problem.key == "rewards.x.size"


def test_a_recipe_error_has_a_line_for_every_problem() -> None:
    error = RecipeError("r.toml", [Problem("a.b", "is odd"), Problem("c", "is even")])
    assert str(error) == "r.toml: a.b: is odd\nr.toml: c: is even"


def test_exit_codes() -> None:
    codes = [MarbleError.exit_code, BadInputError.exit_code, InterruptedRunError.exit_code]
    assert codes == [1, 2, 130]


def test_the_nearest_name_is_suggested() -> None:
    assert did_you_mean("stpes", ["steps", "seed"]) == " (did you mean 'steps'?)"
    assert did_you_mean("qqq", ["steps", "seed"]) == ""
    assert one_of(["b", "a"]) == "a, b"
    assert one_of([]) == "none"


def test_a_long_value_is_shortened() -> None:
    assert len(show_value("x" * 1000)) == 60
