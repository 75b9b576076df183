"""Conflicts of a model before any training: batches are measured as in a run, and never stepped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from marblecli.conflicts.record import ConflictRecord
from marblecli.errors import MarbleError
from marblecli.methods.balance import BalanceState
from marblecli.train.batch_gradients import batch_gradients, fresh_gradients
from marblecli.train.collect import collect, training_batch
from marblecli.train.gradients import RewardGradients
from marblecli.train.measure import BalancePlan, gradient_faults, measure
from marblecli.train.record import conflict_record
from marblecli.train.session import Session


@dataclass(frozen=True)
class ProbedBatch:
    """One batch of the model as it is."""

    record: ConflictRecord
    """Its applied direction is the one that the recipe would step; there is no update."""
    faults: tuple[str, ...]
    notices: tuple[str, ...]
    """What was changed to go on: a smaller micro-batch."""


def probe(session: Session, batches: int) -> Iterator[ProbedBatch]:
    """Measure ``batches`` batches one by one: those that a run would have if it never learned.

    All are samples of one policy, so they differ by noise only. New images are measured besides
    at the recipe's ``measure.fresh_every``. Raises MarbleError if no reward has a usable gradient.
    """
    recipe, state = session.recipe, BalanceState()
    weights = np.array([reward.weight for reward in recipe.rewards.values()])
    every = recipe.measure.fresh_every
    for step in range(1, batches + 1):
        collected = collect(session, step)
        gradients = batch_gradients(session, training_batch(session, step, collected))
        plan = BalancePlan(recipe.balance, weights, step, state)
        try:
            measured = measure(gradients, collected.table, plan)
        except MarbleError as error:
            raise MarbleError(f"batch {step}: {error}") from error
        state = measured.state
        fresh = _fresh(session, step) if every and step % every == 0 else None
        faults = [f"{fault.reward}: {fault.message}" for fault in collected.table.faults]
        directions, add = {"applied": measured.direction()}, session.policies.shards.add
        yield ProbedBatch(
            record=conflict_record(step, measured, directions, add, fresh),
            faults=(*faults, *gradient_faults(measured)),
            notices=session.micro_batch.take_notices(),
        )


def _fresh(session: Session, step: int) -> RewardGradients:
    batch = training_batch(session, step, collect(session, step, "fresh"))
    return fresh_gradients(session, batch)
