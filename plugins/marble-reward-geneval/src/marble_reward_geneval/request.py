"""What a prompt asks for, read from its metadata as GenEval publishes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from marble_reward_geneval.vocabulary import CLASSES, COLOURS, RELATIONS
from marblecli.errors import did_you_mean, one_of

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


def _one_of(choices: tuple[str, ...], what: str) -> AfterValidator:
    def check(name: str) -> str:
        if name not in choices:
            hint = did_you_mean(name, choices) or f"; choose from {one_of(choices)}"
            raise ValueError(f"unknown {what} {name!r}{hint}")
        return name

    return AfterValidator(check)


_Class = Annotated[str, _one_of(CLASSES, "class"), Field(alias="class")]


class Clause(BaseModel):
    """Objects of one class that shall be there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: _Class
    count: PositiveInt
    color: Annotated[str, _one_of(COLOURS, "color")] | None = None
    """Of each of them."""
    position: tuple[Annotated[str, _one_of(RELATIONS, "relation")], NonNegativeInt] | None = None
    """A relation, and the index of the earlier clause to whose objects each of them has it."""


class Exclusion(BaseModel):
    """So many objects of one class, or more, shall not be there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: _Class
    count: PositiveInt


class Request(BaseModel):
    """All clauses must hold, and no exclusion."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tag: str = ""
    include: Annotated[Sequence[Clause], Field(min_length=1)]
    exclude: Sequence[Exclusion] = ()

    @property
    def classes(self) -> frozenset[str]:
        """The classes whose objects matter."""
        return frozenset(one.name for one in self.include) | {one.name for one in self.exclude}

    @model_validator(mode="after")
    def _targets_come_first(self) -> Self:
        for index, clause in enumerate(self.include):
            if clause.position and clause.position[1] >= index:
                raise ValueError(
                    f"include.{index}: its position refers to include.{clause.position[1]}, "
                    "which doesn't come before it"
                )
        return self


def parse_request(metadata: Mapping[str, Any]) -> Request:
    """The fields ``include`` and, where they are there, ``exclude`` and ``tag``.

    Raises ValueError, in a line, if they aren't what GenEval publishes.
    """
    fields = {key: metadata[key] for key in Request.model_fields if key in metadata}
    try:
        return Request.model_validate(fields)
    except ValidationError as error:
        faults = [_explain(fault) for fault in error.errors(include_url=False)]
        raise ValueError(f"GenEval metadata: {'; '.join(faults)}") from error


def _explain(fault: ErrorDetails) -> str:
    place = ".".join(str(part) for part in fault["loc"])
    own = fault["type"] == "value_error"
    message = str(fault["ctx"]["error"]) if own else fault["msg"]
    return f"{place}: {message}" if place else message
