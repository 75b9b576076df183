"""Gram + coefficients -> who is fought, how often, how badly.

For d = sum_k c_k g_k: <g_k, d> = (Gc)_k and ||d||² = cᵀGc, so any balancer can be judged on a batch
from its Gram alone. A reward is fought when its cosine with the direction is negative.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from marblecli.errors import BadInputError, did_you_mean, one_of
from marblecli.maths.balance import METHODS, balance
from marblecli.types import ConflictRecord, GradientStats

if TYPE_CHECKING:
    from marblecli.types import FloatArray

RECORDED_DIRECTIONS = ("applied", "update", "weighted-sum")
"""Directions whose cosines each record holds: the combined gradient that was stepped, the parameter
change that really happened, and the weighted sum of the same gradients."""


@dataclass(frozen=True)
class RewardSummary:
    """How one direction treats one reward, over the batches where its cosine exists."""

    fought_share: float
    """Share of batches with a negative cosine; NaN without a batch."""
    cosine_mean: float


@dataclass(frozen=True)
class DirectionSummary:
    """How one direction treats the rewards, over the batches where any cosine exists."""

    batches: int
    fought_share: float
    """Share of batches in which at least one reward's cosine is negative; NaN without a batch."""
    worst_cosine_mean: float
    per_reward: Mapping[str, RewardSummary]


@dataclass(frozen=True)
class PairSummary:
    """How two rewards' gradients stand to each other, over the batches that have both."""

    first: str
    second: str
    batches: int
    fought_share: float
    """Share of batches with a negative cosine between the two; NaN without a batch."""
    cosine_mean: float


def direction_cosines(gram: FloatArray, coefficients: FloatArray) -> FloatArray:
    """[K], cosine of each gradient with d = sum_k coefficients_k g_k.

    ``gram`` [K, K] of the raw gradients; ``coefficients`` [K]. NaN where the gradient is zero, and
    everywhere if d is zero, or so short that rounding in the Gram decides its sign.
    """
    scale = np.sqrt(np.diag(gram)) * direction_length(gram, coefficients)
    cosines = np.full(len(gram), np.nan)
    np.divide(gram @ coefficients, scale, out=cosines, where=scale > 0.0)
    return cosines


def direction_length(gram: FloatArray, coefficients: FloatArray) -> float:
    """||d|| of d = sum_k coefficients_k g_k; 0 if it's so short that rounding decides it."""
    norms = np.sqrt(np.diag(gram))
    squared_length = float(coefficients @ gram @ coefficients)
    rounding = 4.0 * len(gram) * np.finfo(np.float64).eps * float(np.abs(coefficients) @ norms) ** 2
    return float(np.sqrt(squared_length)) if squared_length > rounding else 0.0


def pairwise_cosines(gram: FloatArray) -> FloatArray:
    """[K, K], cosines between the gradients of ``gram`` [K, K]; NaN where one of them is zero."""
    norms = np.sqrt(np.diag(gram))
    lengths = np.outer(norms, norms)
    cosines = np.full(gram.shape, np.nan)
    np.divide(gram, lengths, out=cosines, where=lengths > 0.0)
    return cosines


def batch_cosines(record: ConflictRecord, direction: str) -> FloatArray:
    """[K], the cosines of ``direction`` on one batch; NaN where there is none.

    ``direction`` is a key of the record's cosines or, recomputed from its Gram, a method of
    :data:`marblecli.maths.balance.METHODS` (with equal weights of the losses).
    Raises BadInputError if it's neither nor one of :data:`RECORDED_DIRECTIONS`.
    """
    if direction in record.cosines:
        cosines = record.cosines[direction]
        return np.array([np.nan if cosine is None else cosine for cosine in cosines])
    if direction in METHODS:
        return _recomputed_cosines(record, direction)
    if direction in RECORDED_DIRECTIONS:
        return np.full(len(record.rewards), np.nan)
    choices = {*METHODS, *RECORDED_DIRECTIONS}
    hint = did_you_mean(direction, choices)
    raise BadInputError(f"unknown balancer {direction!r}{hint}; there are: {one_of(choices)}")


def judge(records: Sequence[ConflictRecord], direction: str) -> DirectionSummary:
    """How ``direction`` (see :func:`batch_cosines`) treated the rewards of all records.

    Missing cosines are skipped. Raises BadInputError for an unknown direction.
    """
    names = reward_names(records)
    cosines = np.full((len(records), len(names)), np.nan)
    for row, record in enumerate(records):
        columns = [names.index(name) for name in record.rewards]
        cosines[row, columns] = batch_cosines(record, direction)
    measured = cosines[~np.isnan(cosines).all(axis=1)]
    worst = np.nanmin(measured, axis=1) if len(measured) else np.array([])
    return DirectionSummary(
        batches=len(measured),
        fought_share=_negative_share(worst),
        worst_cosine_mean=_mean(worst),
        per_reward={
            name: RewardSummary(_negative_share(column), _mean(column))
            for name, column in zip(names, cosines.T, strict=True)
        },
    )


def who_fights_whom(records: Sequence[ConflictRecord]) -> tuple[PairSummary, ...]:
    """Every unordered pair of rewards, the pair most at odds first."""
    summaries = []
    for first, second in combinations(reward_names(records), 2):
        cosines = np.array([_pair_cosine(record, first, second) for record in records])
        summaries.append(
            PairSummary(
                first,
                second,
                batches=int((~np.isnan(cosines)).sum()),
                fought_share=_negative_share(cosines),
                cosine_mean=_mean(cosines),
            )
        )
    return tuple(sorted(summaries, key=lambda pair: np.nan_to_num(pair.cosine_mean, nan=2.0)))


def reward_names(records: Sequence[ConflictRecord]) -> tuple[str, ...]:
    """Every reward of the records, in order of appearance."""
    return tuple(dict.fromkeys(name for record in records for name in record.rewards))


def _recomputed_cosines(record: ConflictRecord, method: str) -> FloatArray:
    gram = np.array(record.gram)
    usable = np.diag(gram) > 0.0
    if not usable.any():
        return np.full(len(gram), np.nan)
    chosen = balance(GradientStats(record.rewards, gram, usable), method, np.ones(len(gram)))
    return direction_cosines(gram, chosen.coefficients)


def _pair_cosine(record: ConflictRecord, first: str, second: str) -> float:
    if first not in record.rewards or second not in record.rewards:
        return float("nan")
    row, column = record.rewards.index(first), record.rewards.index(second)
    return float(pairwise_cosines(np.array(record.gram))[row, column])


def _negative_share(cosines: FloatArray) -> float:
    return _mean(np.where(np.isnan(cosines), np.nan, cosines < 0.0))


def _mean(values: FloatArray) -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")
