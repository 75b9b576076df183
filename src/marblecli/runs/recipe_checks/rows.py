"""What ``[training.rows]`` and ``[training.levels]`` need of other tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from marblecli.errors import BadInputError, Problem
from marblecli.methods.host import find_method
from marblecli.settings import Recipe


def check_level_signal(recipe: Recipe) -> Iterator[Problem]:
    """One problem if levels are drawn by a signal that isn't measured."""
    if recipe.training.levels.draw != "signal":
        return
    for missing, needed in (
        (recipe.training.gradients != "contracted", 'training.gradients = "contracted"'),
        (not recipe.measure.parts, "measure.parts = true"),
        (not recipe.measure.slices_every, "measure.slices_every above 0"),
    ):
        if missing:
            yield Problem("training.levels.draw", f'"signal" needs {needed}')
    methods = (recipe.balance.method, *(phase.method for phase in recipe.balance.phases))
    # An unknown method has been found already.
    with suppress(BadInputError):
        if all(find_method(name).needs.rows == "head" for name in methods):
            message = '"signal" needs another balance.method: this one measures no whole batch'
            yield Problem("training.levels.draw", message)


def check_extremes(recipe: Recipe) -> Iterator[Problem]:
    """One problem if as many images are to be chosen of a group as it has."""
    count, size = recipe.training.rows.extremes, recipe.sampling.group_size
    if count >= size:
        message = f"must be below sampling.group_size, which is {size}; or set it to 0 for all"
        yield Problem("training.rows.extremes", message)
