"""A recipe's model, opened for a benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from marblecli.cli.setup import build_suite, load_plan
from marblecli.train.session import PromptSets, Session, open_session


@contextmanager
def opened(recipe: Path, overrides: Sequence[str]) -> Iterator[Session]:
    """A session on the recipe's training prompts, with nothing trained yet."""
    plan = load_plan(recipe, overrides)
    prompts = PromptSets(plan.train_prompts, {})
    with TemporaryDirectory() as folder:
        session = open_session(plan.recipe, prompts, partial(build_suite, plan), Path(folder))
        with session.suite:
            yield session
