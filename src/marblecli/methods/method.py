"""The whole contract between marble and a balance method, on one page.

A method decides how the K reward gradients of a batch become one: d = sum_k coefficients_k g_k. It
sees their inner products only. A package adds one by the entry point ::

    [project.entry-points.marble]
    my-methods = "my_package.plugin"

and, in that module, ::

    from marblecli.methods import MethodSpec, hookimpl, unit_mixture

    def loudest(statistics, state):
        weights = (statistics.norms == statistics.norms.max()) * 1.0
        return unit_mixture(weights / weights.sum(), statistics.norms), state

    @hookimpl
    def marble_register_methods(register):
        register(MethodSpec("loudest", "The longest gradient alone.", lambda options: loudest))

``[balance] method = "loudest"`` then trains by it. Keys of ``[balance]`` that marble doesn't know
are the method's own options.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import BaseModel

from marblecli.maths.qp.problem import MinNormSolution
from marblecli.plugins import NoOptions
from marblecli.types import Balance, FloatArray, Json, PartGrams, ScoreStats, SignalEstimate

State = Json
"""What a method leaves to its next call: None at first, then whatever JSON can hold. A checkpoint
keeps it."""


@dataclass(frozen=True)
class Statistics:
    """What a method sees of one batch: the U rewards whose gradients are usable."""

    names: tuple[str, ...]
    """U."""
    rewards: tuple[str, ...]
    """K, all rewards of the recipe, in its order."""
    unit_gram: FloatArray
    """[U, U], inner products of the gradients scaled to length 1; its diagonal is 1."""
    norms: FloatArray
    """[U], the lengths of the gradients, all above 0."""
    loss_weights: FloatArray
    """[U], the recipe's ``rewards.NAME.weight``."""
    step: int
    """The optimizer step, from 1."""
    parts: PartGrams | None = None
    """Inner products of the gradients' parts, [U, U] each and not scaled; None where the batch
    wasn't measured in parts."""
    scores: ScoreStats | None = None
    """What the batch's scores say, with U for K; None where only gradients are known."""
    signal: SignalEstimate | None = None
    """The signals that the batches so far share, with U for K; None until each of the U rewards has
    had a gradient in two batches, and where gradients weren't remembered."""


class Method(Protocol):
    """Decides how the gradients of one batch are combined."""

    def __call__(self, statistics: Statistics, state: State, /) -> tuple[Balance, State]:
        """The combination, with arrays of length U, and the state for the next batch.

        The same arguments must give the same result. Raise MarbleError, in one line, for a batch
        that can't be combined.
        """


@dataclass(frozen=True)
class Needs:
    """What a method needs of a run."""

    rows: Literal["batch", "head"] = "batch"
    """What is measured for it: the whole batch, or its head, which is the first micro-batch at one
    noise level."""
    parts: bool = False
    """Whether it reads :attr:`Statistics.parts`."""
    signal: bool = False
    """Whether it reads :attr:`Statistics.signal`; the run then remembers the rewards' gradients,
    which takes the memory of K gradients. It needs ``parts``, too."""
    scores: bool = False
    """Whether it can't do without :attr:`Statistics.scores`."""
    batch_scale: bool = False
    """Whether it reads the scores' ``scales``, so that ``training.advantage_scale`` must be
    ``batch``."""
    sharded: bool = True
    """Whether it works with weights that are sharded or offloaded."""


@dataclass(frozen=True)
class LossInputs:
    """What a loss of a method's own is made of; N images of one process."""

    advantages: FloatArray
    """[N, K], 0 where the reward doesn't apply."""
    shares: FloatArray
    """[N, K], m_ik / n_k: 1 over the number of images that the reward applies to, or 0."""
    coefficients: FloatArray
    """[K], of the K losses."""
    clip: float
    """The advantage at which the optimality probability saturates."""
    images: int
    """Images of the whole batch, those of other processes included."""


@dataclass(frozen=True)
class LossTargets:
    """One loss in place of K: what ``optimality`` and ``shares`` are to its only reward."""

    optimality: FloatArray
    """[N], r_i in [0, 1]."""
    shares: FloatArray
    """[N], what each image counts in the loss."""


def _nothing_missing(_options: Any, /) -> None: ...


def _no_rewards(_options: Any, /) -> Mapping[str, Iterable[str]]:
    return {}


@dataclass(frozen=True)
class MethodSpec:
    """A method as it is declared: enough to list it and to check a recipe."""

    name: str
    """What users type in ``[balance] method``: letters, digits, dashes, and colons between them."""
    summary: str
    """One line for ``marble methods list``."""
    build: Callable[[Any], Method]
    """Makes the method from its options, validated."""
    options: type[BaseModel] = NoOptions
    """The schema of the keys of ``[balance]`` that are the method's own."""
    needs: Needs = Needs()
    targets: Callable[[LossInputs], LossTargets] | None = None
    """Its own loss, for a method that steps another gradient than the combination of the K."""
    certify: Callable[[Any, Statistics, Balance], MinNormSolution] | None = None
    """How far a combination is from the optimum, for a method that solves a quadratic program;
    called with the options, and not where the Gram was smoothed."""
    aliases: tuple[str, ...] = ()
    """Other names for the same."""
    shorthand: str = ""
    """The option that ``NAME:VALUE`` sets on the command line."""
    named_rewards: Callable[[Any], Mapping[str, Iterable[str]]] = _no_rewards
    """The rewards that the options name, by option."""
    check: Callable[[Any], None] = _nothing_missing
    """Raises BadInputError, with the command to run, if the options need what isn't installed."""


Register = Callable[[MethodSpec], None]


def unit_mixture(weights: FloatArray, norms: FloatArray, kkt_residual: float = 0.0) -> Balance:
    """Weights of the unit gradients -> a combination at the mean gradient's length.

    ``weights`` [U], summing to 1, and ``norms`` [U]; coefficients_k = mean(norms) weights_k /
    norms_k (MARBLE, arXiv 2605.06507, the balancing step).
    """
    return Balance(weights, norms.mean() * weights / norms, kkt_residual)


def loss_mixture(coefficients: FloatArray, norms: FloatArray, kkt_residual: float = 0.0) -> Balance:
    """Coefficients [U] of the raw losses -> a combination; ``norms`` [U] tell the mixture."""
    lengths = coefficients * norms
    total = float(np.abs(lengths).sum())
    return Balance(lengths / total if total > 0.0 else lengths, coefficients, kkt_residual)
