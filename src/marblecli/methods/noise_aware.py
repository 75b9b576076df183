"""A balance that tells signal from noise: the largest worst gain per unit of step length.

A batch's gradient is signal plus noise. ``marble`` serves every gradient that was measured, noise
included, so a noisy reward has its cosine from its own noise, and little of it is gain. Here the
gain itself is balanced. With S the Gram matrix of the signals and G that of whole gradients, a step
d = sum_k λ_k g_k improves reward k by (S λ)_k on average, and its length is sqrt(λᵀ G λ). So

    min_λ  λᵀ G λ   subject to  (S λ)_k >= |s_k|,  λ >= 0,        |s_k|² = S_kk,

has the direction with the largest worst (S λ)_k / (|s_k| |d|). With S = G it is ``marble``'s.

S isn't biased by noise, because it is made of products between the two halves of a batch, whose
noises are independent. (A square of one gradient would be: its noise adds to it.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from marblecli.maths.qp.exact import solve_min_norm
from marblecli.maths.qp.least_norm import LeastNorm, least_norm
from marblecli.methods.method import (
    Method,
    MethodSpec,
    Needs,
    State,
    Statistics,
    unit_mixture,
)
from marblecli.methods.smoothing import GramMemory, recall, remember
from marblecli.plugins import NoOptions
from marblecli.types import Balance, BoolArray, FloatArray, PartGrams

_ENOUGH = 0.5
"""The share of its final weight that the memory must have before signals are read from it."""


class NoiseAwareOptions(NoOptions):
    """Options of the method ``noise-aware``."""

    signal_memory: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.95
    """What earlier batches count in the Grams of the signals and of the whole gradients."""
    min_reliability: Annotated[float, Field(gt=0.0, le=1.0)] = 0.05
    """The least share of signal in a reward's squared gradient that is believed. A reward below it
    is asked to rise by less, in proportion, and not at all without any signal."""


@dataclass(frozen=True, eq=False)
class SignalMemory:
    """Exponentially decayed sums over the batches so far, K rewards each, in unit gradients."""

    whole: GramMemory
    """Of whole gradients."""
    signal: FloatArray
    """[K, K], of the signals."""
    shares: FloatArray
    """[K], the share of batches, by weight, in which each reward's signal was measured."""
    weight: float
    """What all batches count together: 1 less what is still empty."""

    def to_json(self, rewards: tuple[str, ...]) -> State:
        """For :meth:`from_json`."""
        return {
            "rewards": list(rewards),
            "gram": self.whole.gram.tolist(),
            "norms": self.whole.norms.tolist(),
            "signal": self.signal.tolist(),
            "shares": self.shares.tolist(),
            "weight": self.weight,
        }

    @classmethod
    def from_json(cls, state: State, rewards: tuple[str, ...]) -> SignalMemory:
        """The memory of a state, or an empty one if there is none, or it is of other rewards."""
        count = len(rewards)
        if state is None or state["rewards"] != list(rewards):
            empty = np.zeros((count, count))
            return cls(GramMemory(empty, np.zeros(count)), empty, np.zeros(count), 0.0)
        whole = GramMemory(np.array(state["gram"]), np.array(state["norms"]))
        signal, shares = np.array(state["signal"]), np.array(state["shares"])
        return cls(whole, signal, shares, state["weight"])

    def after(self, statistics: Statistics, decay: float) -> SignalMemory:
        """The memory after one more batch."""
        usable = np.array([name in statistics.names for name in statistics.rewards])
        pairs = np.ix_(usable, usable)
        gram, norms = np.zeros_like(self.signal), np.zeros_like(self.shares)
        gram[pairs], norms[usable] = statistics.unit_gram, statistics.norms
        signal, measured = np.zeros_like(self.signal), np.zeros_like(self.shares)
        if statistics.parts is not None:
            signal[pairs] = unit_signal(statistics.parts, statistics.norms)
            measured[usable] = 1.0
        return SignalMemory(
            whole=remember(self.whole, gram, norms, decay),
            signal=decay * self.signal + (1.0 - decay) * signal,
            shares=decay * self.shares + (1.0 - decay) * measured,
            weight=decay * self.weight + (1.0 - decay),
        )

    def signal_mean(self, usable: BoolArray) -> FloatArray | None:
        """[U, U], the mean Gram of the signals of the ``usable`` [K]; None if it isn't known."""
        shares = self.shares[usable]
        if self.weight < _ENOUGH or (shares <= 0.0).any():
            return None
        roots = np.sqrt(shares)
        found: FloatArray = self.signal[np.ix_(usable, usable)] / roots / roots[:, None]
        return found


def unit_signal(parts: PartGrams, norms: FloatArray) -> FloatArray:
    """[U, U], an unbiased estimate of the signals' Gram, for gradients scaled to length 1.

    Each half has half of the signal, so products between halves are a quarter of it.
    """
    found: FloatArray = 2.0 * (parts.cross + parts.cross.T) / norms / norms[:, None]
    return found


def solve_gains(
    gram: FloatArray, signal: FloatArray, min_reliability: float = 0.0
) -> LeastNorm | None:
    """λ [U] of the problem above, for Grams [U, U] of unit gradients; None if there is none.

    Where S_kk is below ``min_reliability`` r (times G_kk = 1), r stands for it on the left, and the
    right is max(S_kk, 0) / sqrt(r): continuous, and 0 without any signal. Otherwise a reward that
    is all noise would ask for the more weight, the less of a signal it has.
    """
    squares = signal.diagonal()
    believed = np.maximum(squares, min_reliability)
    gains = signal.copy()
    np.fill_diagonal(gains, believed)
    asked = np.divide(
        np.maximum(squares, 0.0),
        np.sqrt(believed),
        out=np.zeros_like(squares),
        where=believed > 0.0,
    )
    return least_norm(gram, gains, asked) if (asked > 0.0).any() else None


def build(options: NoiseAwareOptions) -> Method:
    """The method with the options' memory and least reliability."""

    def noise_aware(statistics: Statistics, state: State) -> tuple[Balance, State]:
        """The mixture of unit gradients above, at the mean gradient's length, as ``marble``'s.

        Both Grams are means over the batches so far, later ones counting more. Until the memory
        has half of its final weight (13 batches at 0.95), where signals weren't measured, and where
        no direction lets all rewards rise, the mixture is ``marble``'s on the remembered Gram.
        """
        earlier = SignalMemory.from_json(state, statistics.rewards)
        memory = earlier.after(statistics, options.signal_memory)
        usable = np.array([name in statistics.names for name in statistics.rewards])
        whole, norms = recall(memory.whole, usable)
        gram, norms = whole[np.ix_(usable, usable)], norms[usable]
        signal = memory.signal_mean(usable)
        solved = None if signal is None else solve_gains(gram, signal, options.min_reliability)
        left = memory.to_json(statistics.rewards)
        if solved is None or not solved.weights.sum() > 0.0:
            fallback = solve_min_norm(gram)
            return unit_mixture(fallback.weights, norms, fallback.kkt_residual), left
        weights = solved.weights / solved.weights.sum()
        return unit_mixture(weights, norms, solved.kkt_residual), left

    return noise_aware


SPEC = MethodSpec(
    name="noise-aware",
    summary="the largest worst gain per unit of length, by the signal that batches share",
    build=build,
    options=NoiseAwareOptions,
    needs=Needs(parts=True),
)
