"""A measured batch: its K gradients and how they are combined."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from marblecli.engine.reduction import ALONE, Reduction
from marblecli.errors import MarbleError
from marblecli.maths.gram import (
    gradient_stats,
    gram_matrix,
    part_grams,
    whole_gram,
)
from marblecli.methods.schedule import MethodSchedule, MethodState
from marblecli.train.gradients.memory import GradientMemory
from marblecli.train.gradients.reward_gradients import PARTS, RewardGradients
from marblecli.types import (
    Balance,
    FloatArray,
    GradientStats,
    Halves,
    PartGrams,
    RewardTable,
    ScoreStats,
    SignalEstimate,
)


@dataclass(frozen=True)
class Measurement:
    """The gradients of the batch of one step, and how they are combined."""

    gradients: RewardGradients
    stats: GradientStats
    balance: Balance
    state: MethodState
    """What the methods remember, for the next balance."""
    valid: tuple[int, ...]
    """How many images each of the K rewards is valid on."""
    loss_weights: FloatArray
    """[K], the recipe's weights, which the method ``weighted-sum`` uses."""
    parts: PartGrams | None
    """Inner products of the gradients' parts; None if they weren't measured."""
    reduction: Reduction
    """How inner products are summed if the trained weights are sharded."""
    scores: ScoreStats | None = None
    """What the batch's scores say."""
    halves: Halves = "prompts"
    """What differs between the halves of the batch."""
    signal: SignalEstimate | None = None
    """The signals that the batches so far share, this one included; None if not estimated."""
    memory: GradientMemory | None = None
    """The memory that is to keep this batch, if any is."""

    def keep(self) -> None:
        """Remember the batch's gradients, where that is asked for. To be called once."""
        if self.memory is not None and self.parts is not None:
            self.memory.keep(self.gradients, self.stats, self.parts.signal)

    def direction(self) -> list[Tensor]:
        """The gradient to step, by parameter: sum_k coefficients_k g_k and the regulariser's."""
        return self.gradients.combine(torch.from_numpy(self.balance.coefficients))


@dataclass(frozen=True)
class BalancePlan:
    """How the gradients of one step's batch are to be combined."""

    schedule: MethodSchedule
    loss_weights: FloatArray
    """[K], the recipe's weights, which the method ``weighted-sum`` uses."""
    step: int
    state: MethodState
    held: Balance | None = None
    """The balance of an earlier batch, if it is to be used for this batch, too."""
    scores: ScoreStats | None = None
    """What the batch's scores say."""
    halves: Halves = "prompts"
    """What differs between the halves of the batch."""
    memory: GradientMemory | None = None
    """The memory of the gradients of earlier batches, if this one is to be added to it."""


def measure(
    gradients: RewardGradients,
    table: RewardTable,
    plan: BalancePlan,
    reduction: Reduction = ALONE,
) -> Measurement:
    """Measure the gradients' inner products, and balance them.

    ``gradients`` are those of the whole batch: ``reduction`` has summed them over the processes.
    Raises MarbleError, with a reason for each reward, if no reward has a usable gradient.
    """
    valid = tuple(table.valid.sum(0).tolist())
    stats, parts = _statistics(gradients, table.names, valid, reduction)
    if not stats.usable.any():
        reasons = "; ".join(_why_unusable(gradients, table, reduction))
        raise MarbleError(f"no reward has a usable gradient: {reasons}")
    signal = None
    if plan.memory is not None and parts is not None:
        signal = plan.memory.with_batch(gradients, stats, parts.signal, reduction)
    balanced, state = _balanced(stats, parts, plan, signal)
    return Measurement(
        gradients=gradients,
        stats=stats,
        balance=balanced,
        state=state,
        valid=valid,
        loss_weights=plan.loss_weights,
        parts=parts,
        reduction=reduction,
        scores=plan.scores,
        halves=plan.halves,
        signal=signal,
        memory=plan.memory,
    )


def _balanced(
    stats: GradientStats,
    parts: PartGrams | None,
    plan: BalancePlan,
    signal: SignalEstimate | None,
) -> tuple[Balance, MethodState]:
    if plan.held is not None:
        usable = np.where(stats.usable, plan.held.coefficients, 0.0)
        return replace(plan.held, coefficients=usable), plan.state
    return plan.schedule.next(
        stats, plan.loss_weights, plan.step, plan.state, parts, plan.scores, signal
    )


def _statistics(
    gradients: RewardGradients,
    names: tuple[str, ...],
    valid: Sequence[int],
    reduction: Reduction,
) -> tuple[GradientStats, PartGrams | None]:
    gram = _gram(reduction, (block.flatten(0, 1) for block in gradients.blocks))
    stats = gradient_stats(names, whole_gram(gram, len(names)), valid)
    return stats, part_grams(gram, stats.usable) if gradients.parts == PARTS else None


def gradient_faults(measurement: Measurement) -> list[str]:
    """One line for each reward whose gradient isn't finite. A gradient of zero isn't a fault."""
    finite = _finite_rewards(measurement.gradients, measurement.reduction)
    columns = zip(measurement.stats.names, finite, measurement.valid, strict=True)
    return [
        f"{name}: its gradient is not finite" for name, good, count in columns if count and not good
    ]


def _finite_rewards(gradients: RewardGradients, reduction: Reduction) -> list[bool]:
    """For each of the K rewards, whether all elements of its gradient are finite."""
    finite = [block.transpose(0, 1).flatten(1).isfinite().all(1) for block in gradients.blocks]
    faulty = ~torch.stack(finite).all(0).cpu().numpy()
    return (reduction.products(faulty.astype(np.float64)) == 0.0).tolist()


def _gram(reduction: Reduction, blocks: Iterable[Tensor]) -> FloatArray:
    """[K, K], the Gram matrix over all elements of the trained weights."""
    return reduction.products(gram_matrix(blocks))


def _why_unusable(
    gradients: RewardGradients, table: RewardTable, reduction: Reduction
) -> Iterator[str]:
    faults = {fault.reward: fault.message for fault in table.faults}
    counts = table.valid.sum(0).tolist()
    columns = zip(table.names, _finite_rewards(gradients, reduction), counts, strict=True)
    for name, finite, count in columns:
        if not count:
            yield f"{name}: {faults.get(name, 'applied to no image')}"
        else:
            yield f"{name}: its gradient is {'zero' if finite else 'not finite'}"
