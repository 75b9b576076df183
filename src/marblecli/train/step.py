"""From one step's images to the direction that is stepped: collect -> measure -> direction.

The training loop steps this direction and a probe only records it. Both get it here, so that a
probe measures what training does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from marblecli.conflicts.vectors import direction_length
from marblecli.engine.reduction import ALONE, Reduction
from marblecli.errors import LostProcessError, MarbleError, StopRequestedError
from marblecli.maths.gram import gram_matrix
from marblecli.maths.scores import score_stats
from marblecli.methods.schedule import MethodState
from marblecli.train.batch import TrainingBatch
from marblecli.train.collect import Collected, collect, loss_settings, training_batch
from marblecli.train.gradients.of_batch import batch_gradients, judging_gradients
from marblecli.train.gradients.plain import amortised_backward, own_loss_backward
from marblecli.train.gradients.reward_gradients import RewardGradients
from marblecli.train.levels import UNMEASURED, LevelSignal
from marblecli.train.measure import BalancePlan, Measurement, gradient_faults, measure
from marblecli.train.rows import RowCounts
from marblecli.train.sampler import Sampler
from marblecli.types import Balance, Json


@dataclass(frozen=True)
class Carried:
    """What a step passes on to the next one."""

    balance: Balance | None = None
    """The balance of the last batch that was measured for one; None before the first."""
    state: MethodState = field(default_factory=MethodState)
    """What the methods remember."""
    levels: LevelSignal = UNMEASURED
    """What was measured of the noise levels, by which the next ones are drawn."""

    def to_json(self) -> dict[str, Json]:
        """For a checkpoint."""
        balance = self.balance
        return {
            "balance_state": self.state.to_json(),
            "balance": None
            if balance is None
            else {
                "simplex_weights": balance.simplex_weights.tolist(),
                "coefficients": balance.coefficients.tolist(),
                "kkt_residual": balance.kkt_residual,
            },
            "level_signal": self.levels.to_json(),
        }

    @classmethod
    def from_json(cls, saved: Mapping[str, Json], rewards: tuple[str, ...]) -> Carried:
        """What :meth:`to_json` gave, in a run with these ``rewards``."""
        stored = saved["balance"]
        balance = stored and Balance(
            simplex_weights=np.array(stored["simplex_weights"]),
            coefficients=np.array(stored["coefficients"]),
            kkt_residual=stored["kkt_residual"],
        )
        state = MethodState.from_json(saved["balance_state"], rewards)
        # Older checkpoints don't have the levels.
        return cls(balance, state, LevelSignal.from_json(saved.get("level_signal")))


@dataclass(frozen=True)
class StepDirection:
    """One batch, and the gradient by which the trained policy is to be stepped."""

    collected: Collected
    rows: RowCounts
    measured: Measurement | None
    """None if the coefficients of an earlier batch are used without measuring this one."""
    balance: Balance
    """How the rewards' gradients are combined."""
    carried: Carried
    """For the next step."""
    gradient: Sequence[Tensor | None]
    """For each parameter [...], sum_k coefficients_k g_k and the regulariser's gradient, before
    clipping; None where the parameter has no gradient, and everywhere if there is no direction."""
    faults: tuple[str, ...]
    """One line for each reward or gradient that failed."""
    cancelled: bool = False
    """Whether the rewards' gradients cancel each other, so that there is no direction."""

    @property
    def notices(self) -> tuple[str, ...]:
        """One line if there is no direction."""
        if not self.cancelled:
            return ()
        return (
            "nothing was stepped: the rewards' gradients cancel each other, and what is left of "
            "them is rounding",
        )

    def filled(self, parameters: Sequence[Parameter]) -> list[Tensor]:
        """The gradient with zeros for the parameters that have none."""
        return [
            torch.zeros_like(parameter) if part is None else part
            for parameter, part in zip(parameters, self.gradient, strict=True)
        ]


def find_direction(
    sampler: Sampler, step: int, carried: Carried, *, record_all: bool = False
) -> StepDirection:
    """Sample and score a batch, measure it if that is due, and combine the rewards' gradients.

    The batch is measured for a new balance every ``balance.refresh_every`` steps. In the steps
    between, it is measured only for the record: if ``record_all``, or if the recipe says so by
    ``measure.reused``.

    Raises MarbleError if no reward has a usable gradient.
    """
    recipe = sampler.recipe
    with sampler.phases.phase("sampling and scoring"):
        collected = collect(sampler, step)
    batch = training_batch(sampler, step, collected, carried.levels)
    held = None if (step - 1) % recipe.balance.refresh_every == 0 else carried.balance
    measured: Measurement | None = None
    if held is None:
        measured = _measured(sampler, step, batch, collected, replace(carried, balance=None))
        balance = measured.balance
    else:
        balance = held
        if record_all or recipe.measure.reused:
            measured = _measured(sampler, step, batch, collected, carried)
    cancelled = _cancels(sampler, step, measured)
    return StepDirection(
        collected=collected,
        rows=batch.counts,
        measured=measured,
        balance=balance,
        carried=_carried(carried, batch, balance, measured),
        gradient=[None] * len(sampler.policies.trained_parameters())
        if cancelled
        else _gradient(sampler, step, batch, balance, measured),
        faults=(*collected.faults(), *(gradient_faults(measured) if measured else ())),
        cancelled=cancelled,
    )


def _carried(
    earlier: Carried, batch: TrainingBatch, balance: Balance, measured: Measurement | None
) -> Carried:
    """What is known after this batch."""
    if measured is None:
        return replace(earlier, balance=balance)
    levels = remembered(earlier.levels, batch, measured.gradients, measured.reduction)
    return Carried(balance, measured.state, levels)


def remembered(
    levels: LevelSignal,
    batch: TrainingBatch,
    gradients: RewardGradients,
    reduction: Reduction = ALONE,
) -> LevelSignal:
    """What is known of the noise levels after a batch with these ``gradients``."""
    slices = list(gradients.slices.values())
    if batch.bin_rows is None or not slices:
        return levels
    # The bins are the last slices.
    bins = slices[-len(batch.bin_rows) :]
    squares = [np.diag(reduction.products(gram_matrix(each))) for each in bins]
    return levels.remember(np.array(squares), batch.bin_rows)


def _measured(
    sampler: Sampler, step: int, batch: TrainingBatch, collected: Collected, carried: Carried
) -> Measurement:
    """The rewards' gradients, and their balance: the carried one, or a new one if there is none."""
    recipe = sampler.recipe
    if sampler.schedule.at(step).spec.needs.rows == "head":
        batch = batch.head(sampler.micro_batch.size)
    weights = np.array([reward.weight for reward in recipe.rewards.values()])
    scores = score_stats(collected.table, collected.groups, recipe.training.advantage_scale)
    plan = BalancePlan(
        schedule=sampler.schedule,
        loss_weights=weights,
        step=step,
        state=carried.state,
        held=carried.balance,
        scores=scores,
        halves=recipe.measure.halves,
        memory=sampler.gradient_memory
        if carried.balance is None and sampler.schedule.remembers_gradients(step)
        else None,
    )
    try:
        with sampler.phases.phase("gradients"):
            gradients = batch_gradients(sampler, batch)
        with sampler.phases.phase("measuring and method"):
            return measure(gradients, collected.table, plan, sampler.reduction)
    except (LostProcessError, StopRequestedError):
        # The launcher needs the one type to know that another process says what happened, and the
        # loop the other to know that nothing went wrong.
        raise
    except MarbleError as error:
        raise MarbleError(f"step {step}: {error}") from error


def _cancels(sampler: Sampler, step: int, measured: Measurement | None) -> bool:
    """Whether the measured gradients' combination is only rounding, and not a direction.

    A method with a loss of its own doesn't step the combination, so it always has a direction.
    """
    if measured is None or sampler.schedule.at(step).spec.targets is not None:
        return False
    return direction_length(measured.stats.gram, measured.balance.coefficients) == 0.0


def _gradient(
    sampler: Sampler,
    step: int,
    batch: TrainingBatch,
    balance: Balance,
    measured: Measurement | None,
) -> Sequence[Tensor | None]:
    targets = sampler.schedule.at(step).spec.targets
    if measured is not None and targets is None:
        return measured.direction()
    coefficients = torch.from_numpy(balance.coefficients)
    parameters = list(sampler.policies.trained_parameters().values())

    def attempt(size: int) -> None:
        for parameter in parameters:
            # An earlier attempt, which ran out of memory, may have left a part of the gradient.
            parameter.grad = None
        settings = loss_settings(sampler.recipe, size)
        if targets is None:
            amortised_backward(sampler.policies, batch, settings, coefficients)
        else:
            own_loss_backward(sampler.policies, batch, settings, coefficients, targets)

    with sampler.phases.phase("gradients"):
        sampler.micro_batch.fitted(attempt)
    found = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    sampler.reduction.gradients(gradient for gradient in found if gradient is not None)
    return found


@dataclass(frozen=True)
class FreshGradients:
    """Gradients of new images of the policy, which no balance has seen."""

    gradients: RewardGradients
    faults: tuple[str, ...]
    """One line for each reward that failed on these images."""


def fresh_gradients(sampler: Sampler, step: int) -> FreshGradients | None:
    """Measure new images at the recipe's cadence, ``measure.fresh_every``; else None.

    They judge the step's direction and are never stepped.
    """
    every = sampler.recipe.measure.fresh_every
    if not every or step % every:
        return None
    with sampler.phases.phase("fresh images"):
        collected = collect(sampler, step, "fresh")
        batch = training_batch(sampler, step, collected)
        return FreshGradients(judging_gradients(sampler, batch), tuple(collected.faults()))
