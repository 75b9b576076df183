"""What methods would choose from noisy batches, judged by the true signals.

The direction of a batch is d = sum_k c_k g_k. Its cosine with the true signal of reward k says
where sum_k c_k (true signal of k) points. What a step is worth counts its length, noise included:
the gain of reward k per unit of step length is (S c)_k / (|s_k| sqrt(cᵀ G c)), with S the Gram
matrix of the true signals, |s_k|² = S_kk, and G the Gram matrix of the batch's whole gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from marblecli.conflicts.replay import SeenBatch, replay
from marblecli.conflicts.vectors import direction_cosines, ratios
from marblecli.errors import MarbleError
from marblecli.maths.remembered_signal import SignalSums
from marblecli.settings import BalanceSettings
from marblecli.types import FloatArray, GradientStats, PartGrams, ScoreStats, SignalEstimate

METHODS = {
    label: BalanceSettings.model_validate(table)
    for label, table in {
        "marble, this batch": {"method": "marble"},
        "marble, signal without pull": {"gram": "signal"},
        "marble, memory 0.9": {"memory": 0.9},
        "marble, memory 0.95": {"memory": 0.95},
        "noise-aware": {"method": "noise-aware"},
        "equal": {"method": "equal"},
        "weighted-sum": {"method": "weighted-sum"},
        "gdpo": {"method": "gdpo"},
        "raw-sum": {"method": "raw-sum"},
    }.items()
}
"""By label, what sees one batch after the other."""


@dataclass(frozen=True)
class Measured:
    """One batch of the frozen policy."""

    gram: FloatArray
    """[K, K], of the whole gradients."""
    parts: PartGrams
    scores: ScoreStats
    signals: FloatArray
    """[K, P], the gradients without the pull, or sketches of them."""


def estimators(
    names: tuple[str, ...], signal: FloatArray, batches: Sequence[Measured]
) -> dict[str, dict[str, float]]:
    """By label, how the directions of all batches treat the rewards; ``signal`` [K, K] is true.

    The worst of the rewards' mean cosines, the mean cosine, the share of batches in which the
    direction is in conflict with a reward, and the worst and mean gain per unit of step length.
    """
    eigenvalues, vectors = np.linalg.eigh(signal)
    truth = (vectors * np.maximum(eigenvalues, 0.0)) @ vectors.T
    return {
        label: judged(truth, [batch.gram for batch in batches], chosen)
        for label, chosen in _chosen(names, truth, batches).items()
    }


def judged(
    truth: FloatArray, grams: Sequence[FloatArray], chosen: Sequence[FloatArray]
) -> dict[str, float]:
    """The figures of coefficients [K], one for each batch, whose whole Grams are ``grams``."""
    cosines = np.array([direction_cosines(truth, each) for each in chosen])
    gains = np.array([gain(truth, *each) for each in zip(grams, chosen, strict=True)])
    return {
        "worst_mean_cosine": float(cosines.mean(0).min()),
        "mean_cosine": float(cosines.mean()),
        "share_in_conflict": float(np.mean(cosines.min(1) < 0)),
        "worst_mean_gain": float(gains.mean(0).min()),
        "mean_gain": float(gains.mean()),
    }


def gain(truth: FloatArray, gram: FloatArray, coefficients: FloatArray) -> FloatArray:
    """[K], the gain of each reward per unit of the step's length; see the head of this module."""
    length = float(np.sqrt(coefficients @ gram @ coefficients))
    return ratios(truth @ coefficients, np.sqrt(np.diag(truth)) * length)


def _chosen(
    names: tuple[str, ...], truth: FloatArray, batches: Sequence[Measured]
) -> dict[str, list[FloatArray]]:
    """By label, the coefficients [K] for each batch."""
    seen = [
        SeenBatch(step, _stats(names, batch.gram), batch.parts, batch.scores, signal)
        for step, (batch, signal) in enumerate(zip(batches, remembered(batches), strict=True), 1)
    ]
    halves = [SeenBatch(1, _stats(names, batch.parts.first)) for batch in batches]
    found = {label: _replayed(settings, seen) for label, settings in METHODS.items()}
    plain = found["marble, this batch"]
    found["marble, half of the batch"] = _replayed(BalanceSettings(), halves)
    found["marble, the batch before (stale)"] = [*plain[-1:], *plain[:-1]]
    (oracle,) = _replayed(BalanceSettings(), [SeenBatch(1, _stats(names, truth))])
    found["marble, true Gram (an oracle)"] = [oracle] * len(batches)
    return found


def remembered(batches: Sequence[Measured]) -> list[SignalEstimate | None]:
    """For each batch, the signal that it and the ones before it share, as a run estimates it."""
    decay = BalanceSettings().gradient_memory
    sums = SignalSums.empty(len(batches[0].gram))
    usable = np.ones(len(batches[0].gram), dtype=bool)
    means, found = np.zeros_like(batches[0].signals), []
    for batch in batches:
        own, norms = batch.signals @ batch.signals.T, np.sqrt(np.diag(batch.gram))
        sums = sums.after(own, norms, usable, decay)
        means = decay * means + (1.0 - decay) * batch.signals
        found.append(sums.estimate(means @ means.T, usable))
    return found


def _stats(names: tuple[str, ...], gram: FloatArray) -> GradientStats:
    return GradientStats(names, gram, np.diag(gram) > 0.0)


def _replayed(settings: BalanceSettings, seen: Sequence[SeenBatch]) -> list[FloatArray]:
    found = []
    for chosen in replay(settings, {}, seen):
        if isinstance(chosen, MarbleError):
            raise chosen
        found.append(chosen.coefficients)
    return found
