"""One measured batch as a run keeps it: a line of ``conflicts.jsonl``.

A record holds everything that is needed to judge any method on the batch afterwards. It is made of
tuples, so that two records can be compared; K is the number of rewards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property

import numpy as np

from marblecli.types import FloatArray, Halves, PartGrams, ScoreStats, SignalEstimate

Matrix = tuple[tuple[float, ...], ...]
Cosines = Mapping[str, tuple[float | None, ...]]
"""K cosines for each direction (``applied``, ``update``, ``weighted-sum``); None is no cosine."""


@dataclass(frozen=True)
class PartsRecord:
    """Inner products between the parts of the K gradients, K x K each.

    The fields are those of :class:`marblecli.types.PartGrams`, where they are explained.
    """

    first: Matrix
    second: Matrix
    cross: Matrix
    pull: Matrix
    signal_pull: Matrix

    @classmethod
    def of(cls, grams: PartGrams) -> PartsRecord:
        """Record these products."""
        return cls(**{part.name: to_matrix(getattr(grams, part.name)) for part in fields(cls)})

    @property
    def grams(self) -> PartGrams:
        """The products as arrays."""
        return PartGrams(**{part.name: np.array(getattr(self, part.name)) for part in fields(self)})


@dataclass(frozen=True)
class SliceRecord:
    """The signal of some rows of a batch: those of one prompt source or range of noise levels."""

    norms: tuple[float, ...]
    products: Matrix
    """K x K, <signal of reward k in the slice, g_l of the whole batch>."""


@dataclass(frozen=True)
class FreshRecord:
    """The gradients f_k of new images of the same policy, on which no direction was solved."""

    norms: tuple[float, ...]
    products: Matrix
    """K x K, <f_k, g_l>, where g is of the batch that was stepped."""
    signal_norms: tuple[float, ...]
    signal_products: Matrix
    """K x K, <signal part of f_k, g_l>."""
    cross: Matrix
    """K x K, between the signals of the two halves of the new images."""
    cosines: Cosines
    signal_cosines: Cosines


@dataclass(frozen=True)
class ScoresRecord:
    """What the batch's scores say of the K rewards.

    The fields are those of :class:`marblecli.types.ScoreStats`, where they are explained.
    """

    coverage: tuple[float, ...]
    rewards: Matrix
    advantages: Matrix
    scales: tuple[float, ...] | None

    @classmethod
    def of(cls, scores: ScoreStats) -> ScoresRecord:
        """Record these figures."""
        return cls(
            coverage=tuple(scores.coverage.tolist()),
            rewards=to_matrix(scores.rewards),
            advantages=to_matrix(scores.advantages),
            scales=None if scores.scales is None else tuple(scores.scales.tolist()),
        )

    @property
    def stats(self) -> ScoreStats:
        """The figures as arrays."""
        return ScoreStats(
            coverage=np.array(self.coverage),
            rewards=np.array(self.rewards),
            advantages=np.array(self.advantages),
            scales=None if self.scales is None else np.array(self.scales),
        )


@dataclass(frozen=True)
class SignalRecord:
    """The signals that the batches so far share, K rewards.

    The fields are those of :class:`marblecli.types.SignalEstimate`, where they are explained.
    """

    gram: Matrix
    norms: tuple[float, ...]

    @classmethod
    def of(cls, signal: SignalEstimate) -> SignalRecord:
        """Record these figures."""
        return cls(to_matrix(signal.gram), tuple(signal.norms.tolist()))

    @property
    def estimate(self) -> SignalEstimate:
        """The figures as arrays."""
        return SignalEstimate(np.array(self.gram), np.array(self.norms))


@dataclass(frozen=True)
class ConflictRecord:
    """One measured batch."""

    step: int
    rewards: tuple[str, ...]
    valid: tuple[int, ...]
    """K, the number of images that each reward scored."""
    norms: tuple[float, ...]
    gram: Matrix
    """K x K, of the raw gradients."""
    simplex_weights: tuple[float, ...]
    coefficients: tuple[float, ...]
    cosines: Cosines
    """Cosines with the reward gradients."""
    signal_cosines: Cosines = field(default_factory=dict)
    """Cosines with the signal parts of the reward gradients."""
    parts: PartsRecord | None = None
    """None where the parts weren't measured."""
    slices: Mapping[str, SliceRecord] = field(default_factory=dict)
    """The slices by name: ``source SOURCE`` or ``noise LOW-HIGH``."""
    fresh: FreshRecord | None = None
    scores: ScoresRecord | None = None
    """None in old records."""
    signal: SignalRecord | None = None
    """With this batch included; None where gradients weren't remembered, and in the first batch."""
    halves: Halves = "prompts"
    """What differs between the halves of the batch: the recipe's ``measure.halves``."""

    @cached_property
    def part_grams(self) -> PartGrams | None:
        """The products between parts as arrays; None where the parts weren't measured."""
        return None if self.parts is None else self.parts.grams


def to_matrix(values: FloatArray) -> Matrix:
    """The rows of a two-dimensional array as tuples."""
    return tuple(tuple(row) for row in values.tolist())
