"""The prompt sources that a reward is limited to must be there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from marblecli.errors import Problem, did_you_mean, one_of
from marblecli.runs.recipe_checks.sound import FaultyFieldError
from marblecli.settings import EvalRewardSettings, Recipe


def check_sources(recipe: Recipe) -> Iterator[Problem]:
    """One problem for each source that a reward names and the recipe doesn't have."""
    choices = list(recipe.prompts)
    for name, reward in recipe.rewards.items():
        yield from _unknown_sources(f"rewards.{name}", reward, choices)
    with suppress(FaultyFieldError):
        for name, judge in recipe.eval.rewards.items():
            yield from _unknown_sources(f"eval.rewards.{name}", judge, choices)


def _unknown_sources(key: str, reward: EvalRewardSettings, choices: list[str]) -> Iterator[Problem]:
    with suppress(FaultyFieldError):
        for source in reward.sources or ():
            if source not in choices:
                hint = did_you_mean(source, choices) or f"; choose from {one_of(choices)}"
                yield Problem(f"{key}.sources", f"no prompt source {source!r}{hint}")
