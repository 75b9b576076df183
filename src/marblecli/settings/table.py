"""What every table of a recipe shares: its strictness, and keys that belong to somebody else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Table(BaseModel):
    """A table of a recipe: no unknown keys, no infinite numbers, never changed once read."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def gathered(table: Any, model: type[BaseModel]) -> Any:
    """The table with the keys that ``model`` doesn't know gathered under ``options``."""
    if not isinstance(table, Mapping):
        return table
    own = model.model_fields.keys() - {"options"}
    ours = {key: value for key, value in table.items() if key in own}
    rest = {key: value for key, value in table.items() if key not in own}
    return {**ours, "options": rest}
