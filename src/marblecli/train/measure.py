"""A measured batch: its K gradients, their balance, and what is written down of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from marblecli.conflicts.vectors import direction_length
from marblecli.engine.reduction import ALONE, Reduction
from marblecli.errors import MarbleError
from marblecli.maths.gram import (
    cross_products,
    gradient_stats,
    gram_matrix,
    inner_products,
    part_grams,
    whole_gram,
)
from marblecli.methods.balance import BalanceState, next_balance
from marblecli.settings import BalanceSettings
from marblecli.train.gradients import PARTS, RewardGradients
from marblecli.types import (
    Balance,
    ConflictRecord,
    FloatArray,
    FreshRecord,
    GradientStats,
    Matrix,
    PartGrams,
    RewardTable,
    SliceRecord,
)

Direction = Sequence[Tensor]
"""One tensor a parameter, in the policies' order: what a parameter loses in a step."""


@dataclass(frozen=True)
class Measurement:
    """The gradients of the batch that is about to be stepped, and how they are combined."""

    gradients: RewardGradients
    stats: GradientStats
    balance: Balance
    state: BalanceState
    """For the next balance."""
    valid: tuple[int, ...]
    """K, how many images each reward applies to."""
    loss_weights: FloatArray
    """[K], of the method ``weighted-sum``."""
    parts: PartGrams | None
    reduction: Reduction
    """How products are summed where the trained weights are sharded."""

    def direction(self) -> list[Tensor]:
        """The gradient to step: sum_k lambda_k g_k and the regulariser's."""
        return self.gradients.combine(torch.from_numpy(self.balance.coefficients))


@dataclass(frozen=True)
class BalancePlan:
    """How the recipe has a batch balanced, and where the run stands."""

    settings: BalanceSettings
    loss_weights: FloatArray
    """[K], of the method ``weighted-sum``."""
    step: int
    state: BalanceState
    held: Balance | None = None
    """An earlier batch's, to be applied to this one as it is."""


def measure(
    gradients: RewardGradients,
    table: RewardTable,
    plan: BalancePlan,
    reduction: Reduction = ALONE,
) -> Measurement:
    """Gram, then balance. Raises MarbleError, which says why, if no gradient is usable.

    ``gradients`` are those of the whole batch: ``reduction`` has summed them over the processes.
    """
    valid = tuple(table.valid.sum(0).tolist())
    stats, parts = _statistics(gradients, table.names, valid, reduction)
    if not stats.usable.any():
        reasons = "; ".join(_why_unusable(gradients, table, reduction))
        raise MarbleError(f"no reward has a usable gradient: {reasons}")
    balanced, state = _balanced(stats, parts, plan)
    return Measurement(
        gradients, stats, balanced, state, valid, plan.loss_weights, parts, reduction
    )


def _balanced(
    stats: GradientStats, parts: PartGrams | None, plan: BalancePlan
) -> tuple[Balance, BalanceState]:
    if plan.held is not None:
        usable = np.where(stats.usable, plan.held.coefficients, 0.0)
        return replace(plan.held, coefficients=usable), plan.state
    judged = stats
    if plan.settings.gram == "signal" and parts is not None:
        judged = replace(stats, gram=parts.signal)
    return next_balance(judged, plan.settings, plan.loss_weights, plan.step, plan.state)


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
    """Rewards whose gradient isn't finite; a zero gradient is no fault, only nothing to follow."""
    finite = _finite_rewards(measurement.gradients, measurement.reduction)
    columns = zip(measurement.stats.names, finite, measurement.valid, strict=True)
    return [
        f"{name}: its gradient is not finite" for name, good, count in columns if count and not good
    ]


def _finite_rewards(gradients: RewardGradients, reduction: Reduction) -> list[bool]:
    """K, whether every element of the reward's gradient is finite."""
    finite = [block.transpose(0, 1).flatten(1).isfinite().all(1) for block in gradients.blocks]
    faulty = ~torch.stack(finite).all(0).cpu().numpy()
    return (reduction.products(faulty.astype(np.float64)) == 0.0).tolist()


def _gram(reduction: Reduction, blocks: Iterable[Tensor]) -> FloatArray:
    """[K, K], over all elements of the trained weights."""
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


def conflict_record(
    step: int,
    measured: Measurement,
    directions: Mapping[str, Direction],
    fresh: RewardGradients | None = None,
) -> ConflictRecord:
    """The batch with its cosines: with the ``directions`` by name, and with the weighted sum.

    ``fresh`` are the gradients of new images of the policy that the batch was sampled from.
    """
    stats, balanced, parts = measured.stats, measured.balance, measured.parts
    signal = None if parts is None else _signal(measured, parts)
    return ConflictRecord(
        step=step,
        rewards=stats.names,
        valid=measured.valid,
        norms=tuple(stats.norms.tolist()),
        gram=_matrix(stats.gram),
        simplex_weights=tuple(balanced.simplex_weights.tolist()),
        coefficients=tuple(balanced.coefficients.tolist()),
        cosines=_cosines(measured, _whole(measured), directions),
        signal_cosines={} if signal is None else _cosines(measured, signal, directions),
        parts={}
        if parts is None
        else {name: _matrix(part) for name, part in asdict(parts).items()},
        slices={
            name: _slice(measured, blocks) for name, blocks in measured.gradients.slices.items()
        },
        fresh=None if fresh is None else _fresh(measured, fresh, directions),
    )


@dataclass(frozen=True)
class _Vectors:
    """K vectors that are held against the batch's directions."""

    blocks: Callable[[], Iterable[Tensor]]
    """For each parameter [K, ...]."""
    norms: FloatArray
    """[K]; 0 for those that are to be left out."""
    products: FloatArray
    """[K, K], with the K gradients of the batch."""


def _whole(measured: Measurement) -> _Vectors:
    return _Vectors(measured.gradients.whole, measured.stats.norms, measured.stats.gram)


def _signal(measured: Measurement, parts: PartGrams) -> _Vectors:
    return _Vectors(
        measured.gradients.signal,
        norms=np.sqrt(np.maximum(np.diag(parts.signal), 0.0)),
        products=parts.signal + parts.signal_pull,
    )


def _new(measured: Measurement, blocks: Callable[[], Iterable[Tensor]]) -> _Vectors:
    """Vectors whose inner products aren't known yet; unusable ones are masked."""
    reduction = measured.reduction
    squares = np.diag(_gram(reduction, blocks()))
    usable = measured.stats.usable & np.isfinite(squares)
    products = reduction.products(cross_products(blocks(), measured.gradients.whole()))
    return _Vectors(
        blocks,
        norms=np.sqrt(np.where(usable, squares, 0.0)),
        products=np.where(np.outer(usable, measured.stats.usable), products, 0.0),
    )


def _cosines(
    measured: Measurement, vectors: _Vectors, directions: Mapping[str, Direction]
) -> dict[str, tuple[float | None, ...]]:
    """By direction, and for the weighted sum of the batch's gradients."""
    found, reduction = {}, measured.reduction
    for name, direction in directions.items():
        squares = torch.stack([part.double().square().sum() for part in direction]).sum()
        length = np.sqrt(reduction.products(np.asarray(float(squares))))
        products = reduction.products(inner_products(vectors.blocks(), direction))
        found[name] = _ratios(products, vectors.norms * length)
    weights = np.where(measured.stats.usable, measured.loss_weights, 0.0)
    lengths = direction_length(measured.stats.gram, weights)
    return {**found, "weighted-sum": _ratios(vectors.products @ weights, vectors.norms * lengths)}


def _ratios(products: FloatArray, scale: FloatArray) -> tuple[float | None, ...]:
    ratios = np.divide(products, scale, out=np.full_like(scale, np.nan), where=scale > 0.0)
    return tuple(float(ratio) if np.isfinite(ratio) else None for ratio in ratios)


def _slice(measured: Measurement, blocks: Sequence[Tensor]) -> SliceRecord:
    vectors = _new(measured, lambda: blocks)
    return SliceRecord(tuple(vectors.norms.tolist()), _matrix(vectors.products))


def _fresh(
    measured: Measurement, gradients: RewardGradients, directions: Mapping[str, Direction]
) -> FreshRecord:
    whole, signal = _new(measured, gradients.whole), _new(measured, gradients.signal)
    usable = (whole.norms > 0.0) & (signal.norms > 0.0)
    blocks = (block.flatten(0, 1) for block in gradients.blocks)
    halves = part_grams(_gram(measured.reduction, blocks), usable)
    return FreshRecord(
        norms=tuple(whole.norms.tolist()),
        products=_matrix(whole.products),
        signal_norms=tuple(signal.norms.tolist()),
        signal_products=_matrix(signal.products),
        cross=_matrix(halves.cross),
        cosines=_cosines(measured, whole, directions),
        signal_cosines=_cosines(measured, signal, directions),
    )


def _matrix(values: FloatArray) -> Matrix:
    return tuple(tuple(row) for row in values.tolist())
