"""All checks of a recipe together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

from marblecli.errors import Problem
from marblecli.runs.recipe_checks.eval_rewards import check_eval_rewards
from marblecli.runs.recipe_checks.files import check_files
from marblecli.runs.recipe_checks.gradients import (
    check_dora,
    check_fresh_images,
    check_halves,
    check_signal,
)
from marblecli.runs.recipe_checks.methods import check_methods, check_parts, check_scale
from marblecli.runs.recipe_checks.model_folder import check_folder
from marblecli.runs.recipe_checks.rows import check_extremes, check_level_signal
from marblecli.runs.recipe_checks.sharding import check_sharding
from marblecli.runs.recipe_checks.sound import FaultyFieldError
from marblecli.runs.recipe_checks.sources import check_sources
from marblecli.settings import Recipe

Check = Callable[[Recipe], Iterator[Problem]]

CHECKS: tuple[Check, ...] = (
    check_files,
    check_folder,
    check_sources,
    check_eval_rewards,
    check_signal,
    check_halves,
    check_fresh_images,
    check_dora,
    check_level_signal,
    check_extremes,
    check_sharding,
    check_methods,
    check_parts,
    check_scale,
)


def find_problems(recipe: Recipe) -> Iterator[Problem]:
    """What the checks find, in order. A check ends where it reads a faulty field."""
    for check in CHECKS:
        with suppress(FaultyFieldError):
            yield from check(recipe)
