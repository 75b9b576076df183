"""The Gram matrix of the signals, without bias, from gradients that are remembered over batches.

With a_t = (1 - b) b^(T - t) and m_k the sum of a_t g_kt over the batches t in which reward k has a
gradient, <m_k, m_l> is a sum over all pairs of batches. A product of two different batches has the
signals' product as its mean, because their noises are independent; a product of a batch with itself
also has noise in it. Without these,

    S_kl = (<m_k, m_l> - sum_t a_t² <g_kt, g_lt>) / (w_k w_l - sum_t a_t²),      w_k = sum_t a_t,

where the sums in numerator and denominator are over the batches in which both have a gradient. It
is a U-statistic (Hoeffding 1948) with decaying weights. The two halves of every batch would give
one product of half-batches for each batch; this takes the products of all pairs of batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from marblecli.types import BoolArray, FloatArray, Json, SignalEstimate

_ENOUGH = 1e-3
"""The least share of w² that the weights of different batches must have: with less, what is left of
float32 sums is their rounding."""


@dataclass(frozen=True, eq=False)
class SignalSums:
    """The numbers beside the remembered gradients of K rewards."""

    weights: FloatArray
    """[K], w_k."""
    pairs: FloatArray
    """[K, K], sum_t a_t² over the batches in which both rewards have a gradient."""
    own: FloatArray
    """[K, K], sum_t a_t² <g_kt, g_lt>."""
    norms: FloatArray
    """[K], sum_t a_t times the whole gradient's length."""

    @classmethod
    def empty(cls, count: int) -> SignalSums:
        """Of no batch, for ``count`` rewards."""
        square = np.zeros((count, count))
        return cls(np.zeros(count), square, square, np.zeros(count))

    def after(
        self, own: FloatArray, norms: FloatArray, usable: BoolArray, decay: float
    ) -> SignalSums:
        """The sums after one more batch, where the ``usable`` [K] have a gradient.

        ``own`` [K, K] is the Gram of the batch's signals and ``norms`` [K] the lengths of its whole
        gradients; what isn't usable is left out. ``decay`` is b.
        """
        new = 1.0 - decay
        both = np.outer(usable, usable)
        return SignalSums(
            weights=decay * self.weights + new * usable,
            pairs=decay**2 * self.pairs + new**2 * both,
            own=decay**2 * self.own + new**2 * np.where(both, own, 0.0),
            norms=decay * self.norms + new * np.where(usable, norms, 0.0),
        )

    def estimate(self, gram: FloatArray, usable: BoolArray) -> SignalEstimate | None:
        """S of the ``usable`` [K], 0 elsewhere, from the Gram <m_k, m_l> [K, K].

        None until each of them has had a gradient in two batches.
        """
        both = np.outer(usable, usable)
        squares = np.outer(self.weights, self.weights)
        left = squares - self.pairs
        if not usable.any() or (left <= _ENOUGH * squares)[both].any():
            return None
        return SignalEstimate(
            gram=np.divide(gram - self.own, left, out=np.zeros_like(left), where=both),
            norms=np.divide(self.norms, self.weights, out=np.zeros_like(self.norms), where=usable),
        )

    def to_json(self) -> Json:
        """For :meth:`from_json`."""
        return {name: values.tolist() for name, values in vars(self).items()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Json]) -> SignalSums:
        """What :meth:`to_json` gave, to the same bits."""
        return cls(**{name: np.array(values) for name, values in stored.items()})
