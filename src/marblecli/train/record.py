"""What a run keeps of a step: its metrics, and the record of its measured batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from marblecli.conflicts.record import (
    ConflictRecord,
    FreshRecord,
    PartsRecord,
    ScoresRecord,
    SignalRecord,
    SliceRecord,
    to_matrix,
)
from marblecli.conflicts.vectors import cosines_with, direction_length, ratios, signal_norms
from marblecli.maths.gram import cross_products, gram_matrix, inner_products, part_grams
from marblecli.types import Balance, FloatArray, Json, PartGrams, RewardTable

if TYPE_CHECKING:
    from marblecli.train.gradients.reward_gradients import RewardGradients
    from marblecli.train.measure import Measurement
    from marblecli.train.recorder import StepReport

Direction = Sequence[Tensor]
"""One tensor for each parameter, in the policies' order: what the parameter loses in a step."""
Sum = Callable[[FloatArray], FloatArray]
"""Adds up inner products over the processes that hold different rows of the parameters."""


def conflict_record(
    step: int,
    measured: Measurement,
    directions: Mapping[str, Direction],
    add: Sum,
    fresh: RewardGradients | None = None,
) -> ConflictRecord:
    """Record the batch, and its cosines with the ``directions`` by name and the weighted sum.

    ``fresh`` are the gradients of new images of the policy that the batch was sampled from.
    """
    batch = _Batch(measured, directions, add)
    stats, balanced, parts = measured.stats, measured.balance, measured.parts
    return ConflictRecord(
        step=step,
        rewards=stats.names,
        valid=measured.valid,
        norms=tuple(stats.norms.tolist()),
        gram=to_matrix(stats.gram),
        simplex_weights=tuple(balanced.simplex_weights.tolist()),
        coefficients=tuple(balanced.coefficients.tolist()),
        cosines=batch.cosines(_whole(measured)),
        signal_cosines={} if parts is None else batch.cosines(_signal(measured, parts)),
        parts=None if parts is None else PartsRecord.of(parts),
        slices={name: batch.slice(blocks) for name, blocks in measured.gradients.slices.items()},
        fresh=None if fresh is None else batch.fresh(fresh),
        halves=measured.halves,
        scores=None if measured.scores is None else ScoresRecord.of(measured.scores),
        signal=None if measured.signal is None else SignalRecord.of(measured.signal),
    )


@dataclass(frozen=True)
class _Vectors:
    """K vectors by which the batch's directions are judged."""

    blocks: Callable[[], Iterable[Tensor]]
    """For each parameter [K, ...]."""
    norms: FloatArray
    """[K]; 0 for vectors that are left out."""
    products: FloatArray
    """[K, K], with the K gradients of the batch."""


def _whole(measured: Measurement) -> _Vectors:
    return _Vectors(measured.gradients.whole, measured.stats.norms, measured.stats.gram)


def _signal(measured: Measurement, parts: PartGrams) -> _Vectors:
    return _Vectors(
        measured.gradients.signal, signal_norms(parts), parts.signal + parts.signal_pull
    )


@dataclass(frozen=True)
class _Batch:
    """The batch and its directions, by which any vectors are judged."""

    measured: Measurement
    directions: Mapping[str, Direction]
    add: Sum

    def cosines(self, vectors: _Vectors) -> dict[str, tuple[float | None, ...]]:
        """By direction, and for the weighted sum of the batch's gradients."""
        found = {}
        for name, direction in self.directions.items():
            squares = torch.stack([part.double().square().sum() for part in direction]).sum()
            length = np.sqrt(self.add(np.asarray(float(squares))))
            products = self.add(inner_products(vectors.blocks(), direction))
            found[name] = _or_none(ratios(products, vectors.norms * length))
        stats = self.measured.stats
        weights = np.where(stats.usable, self.measured.loss_weights, 0.0)
        weighted = cosines_with(
            vectors.products, vectors.norms, weights, direction_length(stats.gram, weights)
        )
        return {**found, "weighted-sum": _or_none(weighted)}

    def slice(self, blocks: Sequence[Tensor]) -> SliceRecord:
        vectors = self._measure(lambda: blocks)
        return SliceRecord(tuple(vectors.norms.tolist()), to_matrix(vectors.products))

    def fresh(self, gradients: RewardGradients) -> FreshRecord:
        whole, signal = self._measure(gradients.whole), self._measure(gradients.signal)
        usable = (whole.norms > 0.0) & (signal.norms > 0.0)
        gram = self.add(gram_matrix(block.flatten(0, 1) for block in gradients.blocks))
        return FreshRecord(
            norms=tuple(whole.norms.tolist()),
            products=to_matrix(whole.products),
            signal_norms=tuple(signal.norms.tolist()),
            signal_products=to_matrix(signal.products),
            cross=to_matrix(part_grams(gram, usable).cross),
            cosines=self.cosines(whole),
            signal_cosines=self.cosines(signal),
        )

    def _measure(self, blocks: Callable[[], Iterable[Tensor]]) -> _Vectors:
        """Vectors whose inner products aren't known yet; unusable ones get norm and products 0."""
        stats = self.measured.stats
        squares = np.diag(self.add(gram_matrix(blocks())))
        usable = stats.usable & np.isfinite(squares)
        products = self.add(cross_products(blocks(), self.measured.gradients.whole()))
        return _Vectors(
            blocks,
            norms=np.sqrt(np.where(usable, squares, 0.0)),
            products=np.where(np.outer(usable, stats.usable), products, 0.0),
        )


def _or_none(cosines: FloatArray) -> tuple[float | None, ...]:
    return tuple(value if np.isfinite(value) else None for value in cosines.tolist())


def named(names: Sequence[str], values: Sequence[float | None]) -> dict[str, float]:
    """Values by reward, without the rewards that have none."""
    pairs = zip(names, values, strict=True)
    return {name: float(v) for name, v in pairs if v is not None and np.isfinite(v)}


def step_metrics(
    table: RewardTable, report: StepReport, balance: Balance, norm: float
) -> dict[str, Json]:
    """What ``metrics.jsonl`` says of a step; ``norm`` is the gradient's, before clipping."""
    return {
        "step": report.step,
        "seconds": round(report.seconds, 4),
        "rewards": dict(report.rewards),
        "valid": dict(zip(table.names, table.valid.sum(0).tolist(), strict=True)),
        "coefficients": dict(zip(table.names, balance.coefficients.tolist(), strict=True)),
        "gradient_norm": norm,
        "worst_cosine": min(report.cosines.values(), default=None),
        "faults": list(report.faults),
    }
