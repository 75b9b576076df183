"""A measured batch: its K gradients, their balance, and what is written down of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from marblecli.errors import MarbleError
from marblecli.maths.balance import balance
from marblecli.maths.conflicts import direction_cosines
from marblecli.maths.gram import gradient_stats, inner_products
from marblecli.settings import BalanceSettings
from marblecli.train.gradients import RewardGradients
from marblecli.types import Balance, ConflictRecord, FloatArray, GradientStats, RewardTable

Direction = Sequence[Tensor]
"""One tensor a parameter, in the policies' order."""


@dataclass(frozen=True)
class Measurement:
    """The gradients of the batch that is about to be stepped, and how they are combined."""

    gradients: RewardGradients
    stats: GradientStats
    balance: Balance
    valid: tuple[int, ...]
    """K, how many images each reward applies to."""
    loss_weights: FloatArray
    """[K], of the method ``weighted-sum``."""

    def direction(self) -> list[Tensor]:
        """The gradient to step: sum_k lambda_k g_k and the regulariser's."""
        return self.gradients.combine(torch.from_numpy(self.balance.coefficients))


def measure(
    gradients: RewardGradients,
    table: RewardTable,
    settings: BalanceSettings,
    loss_weights: FloatArray,
) -> Measurement:
    """Gram, then balance. Raises MarbleError, which says why, if no gradient is usable."""
    valid = tuple(table.valid.sum(0).tolist())
    stats = gradient_stats(table.names, gradients.blocks, valid)
    if not stats.usable.any():
        reasons = "; ".join(_why_unusable(gradients, table))
        raise MarbleError(f"no reward has a usable gradient: {reasons}")
    balanced = balance(stats, settings.method, loss_weights, settings.solver)
    return Measurement(gradients, stats, balanced, valid, loss_weights)


def gradient_faults(measurement: Measurement) -> list[str]:
    """Rewards whose gradient isn't finite; a zero gradient is no fault, only nothing to follow."""
    finite = _finite_rewards(measurement.gradients)
    columns = zip(measurement.stats.names, finite, measurement.valid, strict=True)
    return [
        f"{name}: its gradient is not finite" for name, good, count in columns if count and not good
    ]


def _finite_rewards(gradients: RewardGradients) -> list[bool]:
    """K, whether every element of the reward's gradient is finite."""
    finite = [block.flatten(1).isfinite().all(1) for block in gradients.blocks]
    return torch.stack(finite).all(0).tolist()


def _why_unusable(gradients: RewardGradients, table: RewardTable) -> Iterator[str]:
    faults = {fault.reward: fault.message for fault in table.faults}
    counts = table.valid.sum(0).tolist()
    columns = zip(table.names, _finite_rewards(gradients), counts, strict=True)
    for name, finite, count in columns:
        if not count:
            yield f"{name}: {faults.get(name, 'applied to no image')}"
        else:
            yield f"{name}: its gradient is {'zero' if finite else 'not finite'}"


def conflict_record(
    step: int, measurement: Measurement, directions: Mapping[str, Direction]
) -> ConflictRecord:
    """The batch with its cosines: with the ``directions`` by name, and with the weighted sum.

    A direction is what a parameter loses: the gradient that was stepped, or -(new - old).
    """
    stats, balanced = measurement.stats, measurement.balance
    weights = np.where(stats.usable, measurement.loss_weights, 0.0)
    cosines = {name: _cosines(measurement, direction) for name, direction in directions.items()}
    return ConflictRecord(
        step=step,
        rewards=stats.names,
        valid=measurement.valid,
        norms=tuple(stats.norms.tolist()),
        gram=tuple(tuple(row) for row in stats.gram.tolist()),
        simplex_weights=tuple(balanced.simplex_weights.tolist()),
        coefficients=tuple(balanced.coefficients.tolist()),
        cosines={**cosines, "weighted-sum": _finite(direction_cosines(stats.gram, weights))},
    )


def _cosines(measurement: Measurement, direction: Direction) -> tuple[float | None, ...]:
    stats = measurement.stats
    products = inner_products(measurement.gradients.blocks, direction)
    length = float(torch.stack([part.double().square().sum() for part in direction]).sum().sqrt())
    scale = np.where(stats.usable, stats.norms * length, 0.0)
    return _finite(np.divide(products, scale, out=np.full_like(scale, np.nan), where=scale > 0))


def _finite(values: FloatArray) -> tuple[float | None, ...]:
    return tuple(float(value) if np.isfinite(value) else None for value in values)
