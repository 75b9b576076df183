"""Open a recipe's model for a benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from marblecli.cli.setup import build_suite, load_plan
from marblecli.train.sampler import PromptSets, Sampler, open_sampler


@contextmanager
def opened(recipe: Path, overrides: Sequence[str]) -> Iterator[Sampler]:
    """A sampler of the recipe's training prompts, with nothing trained yet."""
    plan = load_plan(recipe, overrides)
    sampler = open_sampler(plan.recipe, PromptSets(plan.train_prompts), partial(build_suite, plan))
    with sampler.suite:
        yield sampler
