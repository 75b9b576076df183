"""``marble`` on the gradients' signal, which is what batches share, instead of on one batch.

A batch's gradient is signal plus noise. ``marble`` serves every gradient that was measured, noise
included: a noisy reward is served along its own noise, and little of that is gain. Here the problem
is ``marble``'s min-norm problem on the signals. With S their Gram matrix, |g|_k the mean length of
whole gradients, and s_k = sqrt(max(S_kk, r |g|_k²)) the length of a signal,

    min_w  wᵀ C w   subject to  w >= 0, sum w = 1,        C_kl = S_kl / (s_k s_l), C_kk = 1,

and the step is sum_k c_k g_k with c_k = mean(|g|) mean(s / |g|) w_k / s_k. C is clipped to [-1, 1]
and projected to the nearest positive semidefinite matrix, because S is an estimate. With S the
batch's own Gram, this is ``marble``. The floor r keeps a reward whose signal is nearly zero, or
estimated below zero, from being stepped without limit. As with ``marble``, the step is short where
the signals have little in common.

S comes from a memory of the gradients themselves: it is made of the products of all pairs of
different batches, whose noises are independent (:mod:`marblecli.maths.remembered_signal`). The two
halves of each batch would be unbiased, too, but they give one product of half-batches for a batch.
Averaged over ten or twenty batches that is still mostly noise, and balances that are made of it
serve one reward or another at random.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from marblecli.maths.qp.exact import solve_min_norm
from marblecli.methods.method import (
    Method,
    MethodSpec,
    Needs,
    State,
    Statistics,
    loss_mixture,
    unit_mixture,
)
from marblecli.plugins import NoOptions
from marblecli.types import Balance, FloatArray, SignalEstimate


class NoiseAwareOptions(NoOptions):
    """Options of the method ``noise-aware``."""

    min_reliability: Annotated[float, Field(gt=0.0, le=1.0)] = 0.05
    """The least share of signal in a reward's squared gradient that is believed: where the estimate
    is below it, this share stands for it."""


def signal_lengths(signal: SignalEstimate, min_reliability: float) -> FloatArray:
    """S [U], of at least sqrt(``min_reliability``) times the whole gradients' lengths."""
    squares = np.maximum(signal.gram.diagonal(), min_reliability * signal.norms**2)
    lengths: FloatArray = np.sqrt(squares)
    return lengths


def signal_cosines(gram: FloatArray, lengths: FloatArray) -> FloatArray:
    """C [U, U] of the problem above, from S [U, U] and s [U]: a Gram matrix of unit vectors."""
    cosines = np.clip(gram / lengths / lengths[:, None], -1.0, 1.0)
    cosines = (cosines + cosines.T) / 2.0
    np.fill_diagonal(cosines, 1.0)
    eigenvalues, vectors = np.linalg.eigh(cosines)
    if eigenvalues[0] >= 0.0:
        return cosines
    # Negative eigenvalues are taken away, so that every diagonal entry is at least 1.
    projected = (vectors * np.maximum(eigenvalues, 0.0)) @ vectors.T
    roots = np.sqrt(projected.diagonal())
    found: FloatArray = projected / roots / roots[:, None]
    np.fill_diagonal(found, 1.0)
    return found


def build(options: NoiseAwareOptions) -> Method:
    """The method with the options' least reliability."""

    def noise_aware(statistics: Statistics, state: State) -> tuple[Balance, State]:
        """The mixture above; ``marble``'s on the batch's own Gram where no signal is known yet."""
        signal = statistics.signal
        if signal is None:
            own = solve_min_norm(statistics.unit_gram)
            return unit_mixture(own.weights, statistics.norms, own.kkt_residual), state
        lengths = signal_lengths(signal, options.min_reliability)
        solved = solve_min_norm(signal_cosines(signal.gram, lengths))
        scale = signal.norms.mean() * (lengths / signal.norms).mean()
        coefficients = scale * solved.weights / lengths
        return loss_mixture(coefficients, statistics.norms, solved.kkt_residual), state

    return noise_aware


SPEC = MethodSpec(
    name="noise-aware",
    summary="the min-norm mixture of the signals that the batches so far share",
    build=build,
    options=NoiseAwareOptions,
    needs=Needs(parts=True, signal=True),
)
