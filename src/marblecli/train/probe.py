"""Measure batches of a policy without training it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from marblecli.conflicts.record import ConflictRecord
from marblecli.settings import Recipe
from marblecli.train.collect import step_prompts
from marblecli.train.record import conflict_record
from marblecli.train.sampler import Sampler
from marblecli.train.step import Carried, find_direction, fresh_gradients
from marblecli.types import Prompt


@dataclass(frozen=True)
class ProbedBatch:
    """One measured batch."""

    record: ConflictRecord
    """The record that a run would write, without an update."""
    faults: tuple[str, ...]
    """One line for each reward or gradient that failed."""
    notices: tuple[str, ...]
    """One line for each change that was needed to go on, such as a smaller micro-batch."""


def probe(sampler: Sampler, batches: int) -> Iterator[ProbedBatch]:
    """Measure ``batches`` batches one by one, as a run would if it didn't update its weights.

    Each batch's direction is the one that training would step, also where training reuses
    coefficients. All batches are samples of one policy, so they differ by noise only. New images
    are measured, too, at the recipe's ``measure.fresh_every``.

    Raises MarbleError if no reward has a usable gradient.
    """
    carried = Carried()
    parameters = list(sampler.policies.trained_parameters().values())
    for step in range(1, batches + 1):
        found = find_direction(sampler, step, carried, record_all=True)
        carried = found.carried
        if found.measured is None:
            raise RuntimeError("a batch of the probe wasn't measured")
        fresh = fresh_gradients(sampler, step)
        yield ProbedBatch(
            record=conflict_record(
                step,
                found.measured,
                {"applied": found.filled(parameters)},
                sampler.reduction.products,
                None if fresh is None else fresh.gradients,
            ),
            faults=(*found.faults, *(fresh.faults if fresh else ())),
            notices=(*sampler.micro_batch.take_notices(), *found.notices),
        )


def probed_texts(recipe: Recipe, sources: Sequence[Sequence[Prompt]], batches: int) -> set[str]:
    """The texts of the prompts that :func:`probe` draws from ``sources``, fresh images included."""
    every = recipe.measure.fresh_every
    drawn = [
        prompt
        for step in range(1, batches + 1)
        for purpose in ("rollout", "fresh")
        if purpose == "rollout" or (every and step % every == 0)
        for prompt in step_prompts(recipe, sources, step, purpose)
    ]
    return {prompt.text for prompt in drawn}
