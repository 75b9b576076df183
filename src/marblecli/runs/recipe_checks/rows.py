"""What ``[training.rows]`` and ``[training.levels]`` need of other tables."""

from __future__ import annotations

from collections.abc import Iterator

from marblecli.errors import Problem
from marblecli.settings import Recipe


def check_extremes(recipe: Recipe) -> Iterator[Problem]:
    """One problem if as many images are to be chosen of a group as it has."""
    count, size = recipe.training.rows.extremes, recipe.sampling.group_size
    if count >= size:
        message = f"must be below sampling.group_size, which is {size}; or set it to 0 for all"
        yield Problem("training.rows.extremes", message)
