"""The methods of a run, step by step: phases, smoothing, and what each method remembers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from pydantic import BaseModel

from marblecli.errors import BadInputError, MarbleError, did_you_mean, one_of
from marblecli.maths.qp.problem import MinNormSolution
from marblecli.methods import published
from marblecli.methods.checks import method_options
from marblecli.methods.host import find_method
from marblecli.methods.method import Method, MethodSpec, State, Statistics
from marblecli.methods.smoothing import GramMemory, Smoothing
from marblecli.settings import BalanceSettings
from marblecli.types import (
    Balance,
    BoolArray,
    FloatArray,
    GradientStats,
    Json,
    PartGrams,
    ScoreStats,
    SignalEstimate,
)


@dataclass(frozen=True)
class ScheduledMethod:
    """A method with its options, ready to run."""

    spec: MethodSpec
    options: BaseModel
    run: Method
    until: int | None = None
    """The last step of its phase; None for the recipe's own method."""


@dataclass(frozen=True, eq=False)
class MethodState:
    """What one batch leaves to the next: numbers and names only, for a checkpoint to hold."""

    memory: GramMemory | None = None
    """Of the Grams, where ``balance.memory`` isn't 0."""
    method: str = ""
    """Of the last batch."""
    inner: State = None
    """What that method remembers; another method starts with nothing."""

    def to_json(self) -> dict[str, Json]:
        """For :meth:`from_json`."""
        memory = self.memory
        return {
            "memory": memory and {"gram": memory.gram.tolist(), "norms": memory.norms.tolist()},
            "method": self.method,
            "inner": self.inner,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Json], rewards: tuple[str, ...]) -> MethodState:
        """What :meth:`to_json` gave, to the same bits.

        Checkpoints from before methods were objects have the published method's average under
        ``published``, a number for each of the ``rewards``.
        """
        memory = stored["memory"]
        average = stored.get("published")
        if average is not None:
            inner: State = published.to_state(rewards, average)
            method = published.SPEC.name
        else:
            inner, method = stored.get("inner"), stored.get("method", "")
        return cls(
            memory=memory and GramMemory(np.array(memory["gram"]), np.array(memory["norms"])),
            method=method,
            inner=inner,
        )


@dataclass(frozen=True)
class MethodSchedule:
    """The methods of a run in the order in which they take over."""

    methods: tuple[ScheduledMethod, ...]
    """Those of the phases in order, then the recipe's own."""
    smoothing: Smoothing = field(default_factory=Smoothing)
    signal: bool = False
    """Whether methods see the gradients' signal only, where the batch was measured in parts."""

    @classmethod
    def of(cls, settings: BalanceSettings) -> MethodSchedule:
        """The schedule of a recipe's ``[balance]``.

        Raises BadInputError for an unknown method or options that it can't use.
        """
        phases = [
            _scheduled(phase.method, {**settings.options, **phase.options}, phase.until)
            for phase in settings.phases
        ]
        last = _scheduled(settings.method, settings.options, None)
        smoothing = Smoothing(settings.memory, settings.shrinkage)
        return cls((*phases, last), smoothing, signal=settings.gram == "signal")

    def at(self, step: int) -> ScheduledMethod:
        """The method of ``step`` (from 1): that of the first phase that isn't over."""
        return next(each for each in self.methods if each.until is None or step <= each.until)

    def remembers_gradients(self, step: int) -> bool:
        """Whether the gradients of ``step`` are remembered, for its method or a later one.

        Those of a method that measures a part of the batch aren't.
        """
        left = [each for each in self.methods if each.until is None or step <= each.until]
        needed = any(each.spec.needs.signal for each in left)
        return needed and self.at(step).spec.needs.rows == "batch"

    @property
    def needs_gradient_memory(self) -> bool:
        """Whether any of the methods needs gradients to be remembered."""
        return any(each.spec.needs.signal for each in self.methods)

    def next(
        self,
        stats: GradientStats,
        loss_weights: FloatArray,
        step: int,
        state: MethodState,
        parts: PartGrams | None = None,
        scores: ScoreStats | None = None,
        signal: SignalEstimate | None = None,
    ) -> tuple[Balance, MethodState]:
        """Combine the gradients of the batch of ``step`` (from 1); the state is for the next one.

        ``loss_weights`` [K] are the recipe's; ``parts`` are None where the batch wasn't measured in
        parts, ``scores`` where only gradients are known, and ``signal`` where gradients weren't
        remembered. Rewards that aren't usable get weight 0.

        Raises MarbleError if no reward is usable or the method can't combine the batch, and
        BadInputError for a state of other rewards.
        """
        _check_state(state, len(stats.names))
        if self.signal and parts is not None:
            stats = replace(stats, gram=parts.signal)
        usable, unit_gram, norms = unit_statistics(stats)
        seen, lengths, memory = self.smoothing.apply(unit_gram, norms, usable, state.memory)
        scheduled = self.at(step)
        _check_names(scheduled, stats.names)
        statistics = _of_usable(
            Statistics(
                names=stats.names,
                rewards=stats.names,
                unit_gram=seen,
                norms=lengths,
                loss_weights=np.asarray(loss_weights, dtype=np.float64),
                step=step,
                parts=parts,
                scores=scores,
                signal=signal,
            ),
            usable,
        )
        name = scheduled.spec.name
        inner = state.inner if state.method == name else None
        chosen, left = scheduled.run(statistics, inner)
        balance = Balance(
            simplex_weights=_spread(chosen.simplex_weights, usable),
            coefficients=_spread(chosen.coefficients, usable),
            kkt_residual=chosen.kkt_residual,
        )
        return balance, MethodState(memory, name, left)

    def certify(self, stats: GradientStats, balance: Balance) -> MinNormSolution | None:
        """How far ``balance`` is from the optimum of the last method's problem on this Gram.

        None where the method solves no problem. Raises MarbleError if no reward is usable.
        """
        last = self.methods[-1]
        if last.spec.certify is None:
            return None
        usable, unit_gram, norms = unit_statistics(stats)
        weights = np.ones(len(usable))
        whole = Statistics(stats.names, stats.names, unit_gram, norms, weights, step=1)
        chosen = Balance(
            balance.simplex_weights[usable], balance.coefficients[usable], balance.kkt_residual
        )
        return last.spec.certify(last.options, _of_usable(whole, usable), chosen)


def combine(stats: GradientStats, method: str, loss_weights: FloatArray, **options: Any) -> Balance:
    """What one method makes of one batch, with the given options of its own.

    Raises what :meth:`MethodSchedule.of` and :meth:`MethodSchedule.next` raise.
    """
    schedule = MethodSchedule((_scheduled(method, options, None),))
    return schedule.next(stats, loss_weights, 1, MethodState())[0]


def _scheduled(name: str, options: Mapping[str, Any], until: int | None) -> ScheduledMethod:
    spec = find_method(name)
    validated = method_options(spec, options)
    return ScheduledMethod(spec, validated, spec.build(validated), until)


def unit_statistics(stats: GradientStats) -> tuple[BoolArray, FloatArray, FloatArray]:
    """[K] what is usable, [K, K] Gram of the unit gradients, [K] norms; zero where not usable.

    Raises MarbleError if no reward is usable.
    """
    squared_norms = stats.gram.diagonal()
    usable = stats.usable & np.isfinite(squared_norms) & (squared_norms > 0.0)
    if not usable.any():
        raise MarbleError(
            f"no reward has a usable gradient in this batch: {', '.join(stats.names)}"
        )
    norms = np.sqrt(np.where(usable, squared_norms, 0.0))
    inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=usable)
    unit_gram = np.where(usable[:, None] & usable, stats.gram, 0.0) * inverse[:, None] * inverse
    np.fill_diagonal(unit_gram, usable)
    return usable, unit_gram, norms


def _of_usable(statistics: Statistics, usable: BoolArray) -> Statistics:
    parts, scores, signal = statistics.parts, statistics.scores, statistics.signal
    pairs = np.ix_(usable, usable)
    return replace(
        statistics,
        names=tuple(n for n, there in zip(statistics.names, usable, strict=True) if there),
        unit_gram=statistics.unit_gram[pairs],
        norms=statistics.norms[usable],
        loss_weights=statistics.loss_weights[usable],
        parts=parts and PartGrams(**{key: gram[pairs] for key, gram in vars(parts).items()}),
        scores=scores
        and ScoreStats(
            coverage=scores.coverage[usable],
            rewards=scores.rewards[pairs],
            advantages=scores.advantages[pairs],
            scales=None if scores.scales is None else scores.scales[usable],
        ),
        signal=signal and SignalEstimate(signal.gram[pairs], signal.norms[usable]),
    )


def _spread(values: FloatArray, usable: BoolArray) -> FloatArray:
    spread = np.zeros(len(usable))
    spread[usable] = values
    return spread


def _check_names(scheduled: ScheduledMethod, names: tuple[str, ...]) -> None:
    for key, rewards in scheduled.spec.named_rewards(scheduled.options).items():
        for reward in rewards:
            if reward not in names:
                hint = did_you_mean(reward, names)
                raise BadInputError(
                    f"unknown reward {reward!r}{hint} in balance.{key}; there are: {one_of(names)}"
                )


def _check_state(state: MethodState, count: int) -> None:
    held = 0 if state.memory is None else len(state.memory.norms)
    if held and held != count:
        raise BadInputError(
            f"the balance state is of {held} rewards, and there are {count}: "
            "start the run anew, or with the rewards that it had"
        )
