"""A reward is either trained or only evaluated."""

from __future__ import annotations

from collections.abc import Iterator

from marblecli.errors import Problem
from marblecli.settings import Recipe


def check_eval_rewards(recipe: Recipe) -> Iterator[Problem]:
    """One problem for each name that is both in ``[rewards]`` and in ``[eval.rewards]``."""
    for name in recipe.eval.rewards:
        if name in recipe.rewards:
            yield Problem(
                f"eval.rewards.{name}",
                f"is trained by [rewards.{name}], and evaluations show that already; remove one "
                f"of the two tables, or name this one {name}_LABEL",
            )
