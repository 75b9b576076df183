"""Gradient statistics -> how the K gradients are combined; one function per method.

Source: MARBLE, arXiv 2605.06507 (unit gradients, min-norm point, rescaled); MGDA, Désidéri 2012.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from marblecli.errors import BadInputError, MarbleError, did_you_mean, one_of
from marblecli.maths.qp.simplex_qp import certify, check_floors, check_priorities, find_solver
from marblecli.methods.published import average_weights, slsqp_weights
from marblecli.methods.smoothing import GramMemory, recall, remember, shrink
from marblecli.methods.torchjd import WEIGHTINGS, build_weighting, torchjd_weights
from marblecli.types import Balance

if TYPE_CHECKING:
    from marblecli.settings import BalanceSettings
    from marblecli.types import BoolArray, FloatArray, GradientStats, Json


@dataclass(frozen=True)
class BalanceProblem:
    """What a method sees: the usable rewards only."""

    names: tuple[str, ...]
    """U."""
    unit_gram: FloatArray
    """[U, U], inner products of the unit gradients."""
    norms: FloatArray
    """[U], norms of the raw gradients, all above 0."""
    loss_weights: FloatArray
    """[U], the recipe's weight of each reward; for ``weighted-sum``."""
    floors: FloatArray | None = None
    """[U], lower bounds of the simplex weights, or none; for ``marble``."""
    priorities: FloatArray | None = None
    """[U], what each reward's cosine is measured in, or none; for ``marble``."""
    solver: str = "wolfe"
    """See :func:`marblecli.maths.qp.simplex_qp.find_solver`; for ``marble``."""
    reward: str | None = None
    """For ``single``."""
    previous: FloatArray | None = None
    """[U], the moving average of the weights so far, or none; for ``marble-published``."""
    seed: int = 0
    """For what draws at random: ``pcgrad``."""


@dataclass(frozen=True, eq=False)
class BalanceState:
    """What one balance leaves to the next: numbers only, so that a checkpoint can hold it."""

    memory: GramMemory | None = None
    """Of the Grams, where ``balance.memory`` isn't 0."""
    published: FloatArray | None = None
    """[K], the moving average of the weights, where the last method was ``marble-published``."""

    def to_json(self) -> dict[str, Json]:
        """For :meth:`from_json`."""
        memory = self.memory
        return {
            "memory": memory and {"gram": memory.gram.tolist(), "norms": memory.norms.tolist()},
            "published": None if self.published is None else self.published.tolist(),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Json]) -> BalanceState:
        """What :meth:`to_json` gave, to the same bits."""
        memory, published = stored["memory"], stored["published"]
        return cls(
            memory=memory and GramMemory(np.array(memory["gram"]), np.array(memory["norms"])),
            published=None if published is None else np.array(published),
        )


def balance(
    stats: GradientStats,
    method: str,
    loss_weights: FloatArray,
    solver: str = "wolfe",
    floors: FloatArray | None = None,
    priorities: FloatArray | None = None,
    reward: str | None = None,
) -> Balance:
    """The combination d = sum_k coefficients_k g_k that ``method`` chooses for one batch.

    ``loss_weights`` [K], used by ``weighted-sum`` only; ``floors`` [K], lower bounds of the simplex
    weights, and ``priorities`` [K], the ratios in which cosines are to stand, for ``marble`` only;
    ``reward``, the one that ``single`` follows. Unusable rewards get weight 0, whatever their
    floor.

    Raises BadInputError for an unknown method, solver or reward, or what can't be met; MarbleError
    if no reward is usable.
    """
    usable, unit_gram, norms = _unit_statistics(stats)
    problem = BalanceProblem(
        names=stats.names,
        unit_gram=unit_gram,
        norms=norms,
        loss_weights=np.asarray(loss_weights, dtype=np.float64),
        floors=floors,
        priorities=priorities,
        solver=solver,
        reward=reward,
    )
    return _combine(method, problem, usable)


def next_balance(
    stats: GradientStats,
    settings: BalanceSettings,
    loss_weights: FloatArray,
    step: int,
    state: BalanceState,
) -> tuple[Balance, BalanceState]:
    """What the recipe says to do with the batch of ``step`` (from 1), and the state after it.

    ``loss_weights`` [K] as in :func:`balance`; ``state`` is ``BalanceState()`` at first.
    Raises what :func:`balance` raises, and BadInputError for a state of other rewards.
    """
    method, reward = method_at(step, settings), settings.reward
    if method == "sequential":
        method, reward = "single", reward_at(step, settings, stats.names)
    _check_state(state, len(stats.names))
    usable, unit_gram, norms = _unit_statistics(stats)
    memory = None
    if settings.memory > 0.0:
        memory = remember(state.memory, unit_gram, norms, settings.memory)
        unit_gram, norms = recall(memory, usable)
    problem = BalanceProblem(
        names=stats.names,
        unit_gram=shrink(unit_gram, settings.shrinkage) if settings.shrinkage else unit_gram,
        norms=norms,
        loss_weights=np.asarray(loss_weights, dtype=np.float64),
        solver=settings.solver,
        reward=reward,
        previous=state.published,
        seed=step,
    )
    if method == "marble":
        problem = replace(
            problem,
            floors=_by_reward("floors", settings.floors, stats.names, 0.0),
            priorities=_by_reward("priorities", settings.priorities, stats.names, 1.0),
        )
    chosen = _combine(method, problem, usable)
    published = chosen.coefficients if method == "marble-published" else None
    return chosen, BalanceState(memory, published)


def method_at(step: int, settings: BalanceSettings) -> str:
    """The method of ``step`` (from 1): of the first phase that isn't over, else the recipe's."""
    current = (phase.method for phase in settings.phases if step <= phase.until)
    return next(current, settings.method)


def reward_at(step: int, settings: BalanceSettings, names: tuple[str, ...]) -> str:
    """The reward that ``sequential`` follows at ``step`` (from 1): in turn, round and round."""
    return names[(step - 1) // settings.stage_steps % len(names)]


def check_available(settings: BalanceSettings) -> None:
    """Raise BadInputError if the solver, or the library of a method, isn't installed."""
    methods = {settings.method, *(phase.method for phase in settings.phases)}
    for method in sorted(methods):
        name = _ALIASES.get(method, method).removeprefix("torchjd:")
        if name in WEIGHTINGS:
            build_weighting(name)
    if "marble" in methods:
        find_solver(settings.solver)


def marble(problem: BalanceProblem) -> Balance:
    """The min-norm point of the unit gradients: the direction with the largest worst cosine.

    With priorities p it is the direction with the largest min_k cos_k / p_k.
    """
    solve = find_solver(problem.solver)
    solution = solve(problem.unit_gram, problem.floors, problem.priorities)
    return _rescaled(solution.weights, problem.norms, solution.kkt_residual)


def marble_published(problem: BalanceProblem) -> Balance:
    """The published code's coefficients: weights solved for unit gradients, put on raw ones.

    They weigh the losses as they are, neither divided by the norms nor times their mean, and are a
    moving average.
    """
    current = slsqp_weights(problem.unit_gram)
    coefficients = average_weights(problem.previous, current)
    lengths = coefficients * problem.norms
    residual = certify(problem.unit_gram, coefficients).kkt_residual
    return Balance(lengths / lengths.sum(), coefficients, residual)


def equal(problem: BalanceProblem) -> Balance:
    """Every unit gradient alike."""
    count = len(problem.norms)
    return _rescaled(np.full(count, 1.0 / count), problem.norms)


def weighted_sum(problem: BalanceProblem) -> Balance:
    """The recipe's weights on the raw losses, normalised to sum to 1 over the usable rewards."""
    total = problem.loss_weights.sum()
    if total <= 0.0:
        raise MarbleError("no reward with a usable gradient has a weight above 0")
    coefficients = problem.loss_weights / total
    lengths = coefficients * problem.norms
    return Balance(lengths / lengths.sum(), coefficients, kkt_residual=0.0)


def single(problem: BalanceProblem) -> Balance:
    """One reward's loss alone."""
    if problem.reward not in problem.names:
        raise MarbleError(f"{problem.reward} has no usable gradient in this batch")
    alone = np.array([float(name == problem.reward) for name in problem.names])
    return Balance(alone, alone, kkt_residual=0.0)


def torchjd(name: str, problem: BalanceProblem) -> Balance:
    """TorchJD's weights of the unit gradients, scaled so that their absolute values sum to 1.

    Some of ``imtl-g`` and ``aligned-mtl`` may be negative; all are 0 where TorchJD finds that the
    gradients are in balance already.
    """
    weights = torchjd_weights(name, problem.unit_gram, problem.seed)
    total = float(np.abs(weights).sum())
    return _rescaled(weights / total if total > 0.0 else weights, problem.norms)


_TORCHJD = {f"torchjd:{name}": partial(torchjd, name) for name in WEIGHTINGS}
_ALIASES = {"pcgrad": "torchjd:pcgrad", "upgrad": "torchjd:upgrad"}

METHODS: Mapping[str, Callable[[BalanceProblem], Balance]] = MappingProxyType(
    {
        "marble": marble,
        "weighted-sum": weighted_sum,
        "equal": equal,
        "single": single,
        "marble-published": marble_published,
        **_TORCHJD,
        **{alias: _TORCHJD[name] for alias, name in _ALIASES.items()},
    }
)
"""By name; a recipe may also say ``sequential``, which is ``single`` by turns."""


def _unit_statistics(stats: GradientStats) -> tuple[BoolArray, FloatArray, FloatArray]:
    """[K] what is usable, [K, K] Gram of the unit gradients, [K] norms; zero where not usable."""
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


def _combine(method: str, problem: BalanceProblem, usable: BoolArray) -> Balance:
    """Check, leave out what isn't ``usable`` [K], choose, and give the rest weight 0."""
    _check_name("balance method", method, METHODS)
    if method != "marble":
        for what, given in (("floors", problem.floors), ("priorities", problem.priorities)):
            if given is not None:
                raise BadInputError(f"only the method marble takes {what}, not {method}")
    if method == "single":
        if problem.reward is None:
            raise BadInputError(
                f"the method single needs a reward; there are: {one_of(problem.names)}"
            )
        _check_name("reward", problem.reward, problem.names)
    find_solver(problem.solver)
    check_floors(problem.floors, len(usable))
    check_priorities(problem.priorities, len(usable))
    chosen = METHODS[method](_of_usable(problem, usable))
    return Balance(
        simplex_weights=_spread(chosen.simplex_weights, usable),
        coefficients=_spread(chosen.coefficients, usable),
        kkt_residual=chosen.kkt_residual,
    )


def _of_usable(problem: BalanceProblem, usable: BoolArray) -> BalanceProblem:
    def kept(values: FloatArray | None) -> FloatArray | None:
        return None if values is None else values[usable]

    return replace(
        problem,
        names=tuple(name for name, there in zip(problem.names, usable, strict=True) if there),
        unit_gram=problem.unit_gram[np.ix_(usable, usable)],
        norms=problem.norms[usable],
        loss_weights=problem.loss_weights[usable],
        floors=kept(problem.floors),
        priorities=kept(problem.priorities),
        previous=kept(problem.previous),
    )


def _rescaled(weights: FloatArray, norms: FloatArray, kkt_residual: float = 0.0) -> Balance:
    """Unit gradients' weights [U] as coefficients s * weights / norms, s the mean norm."""
    return Balance(weights, norms.mean() * weights / norms, kkt_residual)


def _spread(values: FloatArray, usable: BoolArray) -> FloatArray:
    spread = np.zeros(len(usable))
    spread[usable] = values
    return spread


def _by_reward(
    key: str, table: Mapping[str, float], names: tuple[str, ...], default: float
) -> FloatArray | None:
    """[K] from a table of the recipe, or none if it's empty."""
    for name in table:
        _check_name(f"reward in balance.{key}", name, names)
    return np.array([table.get(name, default) for name in names]) if table else None


def _check_state(state: BalanceState, count: int) -> None:
    held = [state.published] if state.memory is None else [state.published, state.memory.norms]
    for values in held:
        if values is not None and len(values) != count:
            raise BadInputError(
                f"the balance state is of {len(values)} rewards, and there are {count}: "
                "start the run anew, or with the rewards that it had"
            )


def _check_name(what: str, name: str, choices: Iterable[str]) -> None:
    if name not in (choices := tuple(choices)):
        hint = did_you_mean(name, choices)
        raise BadInputError(f"unknown {what} {name!r}{hint}; there are: {one_of(choices)}")
