"""Gram + coefficients -> who is fought, how often, how badly, and how surely.

For d = sum_k c_k g_k: <g_k, d> = (Gc)_k and ||d||² = cᵀGc, so any balancer can be judged on a batch
from its Gram alone. A reward is fought when its cosine with the direction is negative.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np

from marblecli.conflicts.estimates import (
    Estimate,
    SharedSignal,
    estimate_means,
    half_cosines,
    shared_signal,
)

if TYPE_CHECKING:
    from marblecli.types import ConflictRecord, FloatArray

Verdict = Literal["conflict", "agreement", "can't be told from noise", "not measured"]


@dataclass(frozen=True)
class RewardSummary:
    """How one direction treats one reward, over the batches where its cosine exists."""

    cosine: Estimate
    """The mean cosine."""
    cosine_worst: float
    fought_share: Estimate
    """Share of batches with a negative cosine."""


@dataclass(frozen=True)
class DirectionSummary:
    """How one direction treats the rewards, over the batches where any cosine exists."""

    batches: int
    worst_cosine: Estimate
    """The mean over batches of the least cosine of each."""
    fought_share: Estimate
    """Share of batches in which at least one reward's cosine is negative."""
    per_reward: Mapping[str, RewardSummary]

    @property
    def worst_reward(self) -> str | None:
        """The reward whose mean cosine is the least; noise doesn't lower it, unlike the other."""
        means = {
            name: reward.cosine.value
            for name, reward in self.per_reward.items()
            if not np.isnan(reward.cosine.value)
        }
        return min(means, key=means.__getitem__, default=None)


@dataclass(frozen=True)
class PairSummary:
    """How two rewards' gradients stand to each other, over the batches that have both."""

    first: str
    second: str
    batches: int
    cosine: Estimate
    """The mean of what single batches show, which noise pulls to zero."""
    fought_share: Estimate
    """Share of batches with a negative cosine between the two."""
    corrected: Estimate
    """The cosine without the noise: see :func:`marblecli.conflicts.estimates.shared_signal`."""
    verdict: Verdict


def direction_cosines(gram: FloatArray, coefficients: FloatArray) -> FloatArray:
    """[K], cosine of each gradient with d = sum_k coefficients_k g_k.

    ``gram`` [K, K] of the raw gradients; ``coefficients`` [K]. NaN where the gradient is zero, and
    everywhere if d is zero, or so short that rounding in the Gram decides its sign.
    """
    norms = np.sqrt(np.diag(gram))
    return cosines_with(gram, norms, coefficients, direction_length(gram, coefficients))


def cosines_with(
    products: FloatArray, norms: FloatArray, coefficients: FloatArray, length: float
) -> FloatArray:
    """[K], cosines of vectors v_k with d = sum_l coefficients_l g_l of that ``length``.

    ``products`` [K, L], <v_k, g_l>; ``norms`` [K] of the v_k. NaN where a norm or the length is 0.
    """
    scale = norms * length
    cosines = np.full(len(norms), np.nan)
    np.divide(products @ coefficients, scale, out=cosines, where=scale > 0.0)
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


def by_name(
    record: ConflictRecord, names: Sequence[str], found: Sequence[float | None] | FloatArray
) -> FloatArray:
    """[K], the cosines ``found`` of the record's rewards, in the order of ``names``; else NaN."""
    columns = [names.index(name) for name in record.rewards]
    cosines = np.full(len(names), np.nan)
    cosines[columns] = np.array(found, dtype=np.float64)
    return cosines


def summarise(names: Sequence[str], cosines: FloatArray) -> DirectionSummary:
    """A direction's cosines [batches, W, K] with the rewards ``names``; NaN where there is none.

    Where a batch was judged in W ways, their mean counts.
    """
    measured = cosines[~np.isnan(cosines).all(axis=(1, 2))]
    fought = np.where(np.isnan(measured), np.nan, measured < 0.0)
    columns = np.column_stack(
        [
            _over(np.fmin.reduce(measured, axis=2), axis=1),
            _over(np.fmax.reduce(fought, axis=2), axis=1),
            _over(measured, axis=1),
            _over(fought, axis=1),
        ]
    )
    worst, share, *each = estimate_means(columns)
    least = np.fmin.reduce(measured, axis=(0, 1), initial=np.nan)
    count = len(names)
    return DirectionSummary(
        batches=len(measured),
        worst_cosine=worst,
        fought_share=share,
        per_reward={
            name: RewardSummary(each[k], float(least[k]), each[count + k])
            for k, name in enumerate(names)
        },
    )


def who_fights_whom(records: Sequence[ConflictRecord]) -> tuple[PairSummary, ...]:
    """Every unordered pair of rewards, the surest conflict first."""
    names = reward_names(records)
    naive = np.stack([named_pairs(record, names) for record in records])
    shared = shared_signal(np.stack([half_cosines(record, names) for record in records]))
    measured = any(record.parts for record in records)
    pairs = []
    for k, el in combinations(range(len(names)), 2):
        cosines = naive[:, k, el]
        fought = np.where(np.isnan(cosines), np.nan, cosines < 0.0)
        cosine, share = estimate_means(np.column_stack([cosines, fought]))
        pairs.append(
            PairSummary(
                names[k],
                names[el],
                batches=int((~np.isnan(cosines)).sum()),
                cosine=cosine,
                fought_share=share,
                corrected=shared.corrected[k][el],
                verdict=_verdict(shared, k, el) if measured else "not measured",
            )
        )
    return tuple(sorted(pairs, key=_by_conflict))


def reward_names(records: Sequence[ConflictRecord]) -> tuple[str, ...]:
    """Every reward of the records, in order of appearance."""
    return tuple(dict.fromkeys(name for record in records for name in record.rewards))


_VERDICTS: Mapping[int, Verdict] = {
    -1: "conflict",
    0: "can't be told from noise",
    1: "agreement",
}


def _verdict(shared: SharedSignal, k: int, el: int) -> Verdict:
    return _VERDICTS[shared.corrected[k][el].sign]


def _by_conflict(pair: PairSummary) -> tuple[float, float]:
    """Told ones from the worst to the best, those that can't be told between them."""
    corrected = pair.corrected.value if pair.corrected.sign else 0.0
    return (corrected, float(np.nan_to_num(pair.cosine.value, nan=2.0)))


def named_pairs(record: ConflictRecord, names: Sequence[str]) -> FloatArray:
    """[K, K], the pairwise cosines of one batch in the order of ``names``; NaN where absent."""
    pairs = np.full((len(names), len(names)), np.nan)
    columns = [names.index(name) for name in record.rewards]
    pairs[np.ix_(columns, columns)] = pairwise_cosines(np.array(record.gram))
    return pairs


def _over(values: FloatArray, axis: int) -> FloatArray:
    """The mean over an axis of what isn't NaN; NaN where nothing is."""
    there = ~np.isnan(values)
    total = np.where(there, values, 0.0).sum(axis=axis)
    counts = there.sum(axis=axis)
    means = np.full(total.shape, np.nan)
    np.divide(total, counts, out=means, where=counts > 0)
    return means
