"""The contract kit of balance methods: does one keep what :mod:`marblecli.methods.method` asks for?

In a package's tests, ::

    from marblecli.methods.testing import check_method

    def test_it_keeps_the_contract():
        assert check_method("loudest") == []

``marble methods check NAME`` does the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from marblecli.errors import BadInputError, MarbleError
from marblecli.methods.checks import method_options
from marblecli.methods.host import check_spec, find_method
from marblecli.methods.method import Method, MethodSpec, State, Statistics
from marblecli.types import Balance, FloatArray, PartGrams, ScoreStats, SignalEstimate

_REWARDS = ("alpha", "beta", "gamma", "delta")
_TOLERANCE = 1e-9


def check_method(method: str | MethodSpec, options: Mapping[str, Any] | None = None) -> list[str]:
    """Every way in which a method breaks the contract, one line each; nothing if it keeps it.

    A name is that of an installed method. Rewards that its options name are among those drawn.
    Raises BadInputError for an unknown method, wrong options, or what isn't installed.
    """
    spec = find_method(method) if isinstance(method, str) else check_spec(method)
    chosen = method_options(spec, options or {})
    spec.check(chosen)
    named = [name for names in spec.named_rewards(chosen).values() for name in names]
    rewards = tuple(dict.fromkeys((*named, *_REWARDS)))
    run = spec.build(chosen)
    checks: tuple[Callable[[Method, tuple[str, ...]], Iterator[str]], ...] = (
        _combines,
        _repeats,
        _remembers,
        _takes_one_reward,
    )
    return [f"{spec.name}: {fault}" for check in checks for fault in check(run, rewards)]


def drawn_statistics(rewards: tuple[str, ...], step: int) -> Statistics:
    """A batch of random gradients in 20 dimensions, norms far apart; the same for the same step."""
    rng = np.random.default_rng(step)
    first, second = rng.standard_normal((2, len(rewards), 20)) * 10.0 ** rng.uniform(-2, 1)
    pull = 0.1 * rng.standard_normal((len(rewards), 20))
    gradients = first + second + pull
    norms = np.linalg.norm(gradients, axis=1)
    unit = gradients / norms[:, None]
    gram = unit @ unit.T
    np.fill_diagonal(gram, 1.0)
    return Statistics(
        names=rewards,
        rewards=rewards,
        unit_gram=gram,
        norms=norms,
        loss_weights=rng.uniform(0.5, 2.0, len(rewards)),
        step=step,
        parts=PartGrams(
            first=first @ first.T,
            second=second @ second.T,
            cross=first @ second.T,
            pull=pull @ pull.T,
            signal_pull=(first + second) @ pull.T,
        ),
        scores=_drawn_scores(rng, len(rewards)),
        signal=SignalEstimate(0.5 * (first @ second.T + second @ first.T), norms),
    )


def _drawn_scores(rng: np.random.Generator, count: int) -> ScoreStats:
    """Of 50 images, with scales far apart."""
    advantages = rng.standard_normal((50, count))
    scales = 10.0 ** rng.uniform(-2, 2, count)
    covariances = np.cov(advantages.T, bias=True).reshape(count, count)
    return ScoreStats(
        coverage=rng.uniform(0.2, 1.0, count),
        rewards=covariances * scales * scales[:, None],
        advantages=covariances,
        scales=scales,
    )


def _combines(run: Method, rewards: tuple[str, ...]) -> Iterator[str]:
    """Finite arrays of the right length that say the same thing twice."""
    for step in range(1, 6):
        statistics = drawn_statistics(rewards, step)
        balance, _ = run(statistics, None)
        yield from _faults(balance, statistics.norms)


def _faults(balance: Any, norms: FloatArray) -> Iterator[str]:
    if not isinstance(balance, Balance):
        yield f"it returned {balance!r}, which is no Balance"
        return
    for key in ("simplex_weights", "coefficients"):
        values = np.asarray(getattr(balance, key))
        if values.shape != norms.shape:
            yield f"{key} has shape {list(values.shape)} for {len(norms)} rewards"
            return
        if not np.isfinite(values).all():
            yield f"{key} is not finite"
            return
    lengths = balance.coefficients * norms
    total = np.abs(lengths).sum()
    share = lengths / total if total > 0.0 else lengths
    if not np.allclose(share, balance.simplex_weights, atol=1e-6):
        yield "simplex_weights aren't what the coefficients give each unit gradient"


def _same(one: Any, other: Any) -> bool:
    """Whether two combinations are the same to the bit; what is none has been named already."""
    if not (isinstance(one, Balance) and isinstance(other, Balance)):
        return True
    return np.array_equal(one.coefficients, other.coefficients, equal_nan=True)


def _repeats(run: Method, rewards: tuple[str, ...]) -> Iterator[str]:
    statistics = drawn_statistics(rewards, 3)
    first, again = (run(statistics, None)[0] for _ in range(2))
    if not _same(first, again):
        yield "the same batch gave another combination the second time"


def _remembers(run: Method, rewards: tuple[str, ...]) -> Iterator[str]:
    """A state that went through JSON leads to the same combination, to the bit."""
    state: State = None
    for step in range(1, 4):
        _, state = run(drawn_statistics(rewards, step), state)
    try:
        stored = json.loads(json.dumps(state, allow_nan=False))
    except (TypeError, ValueError) as error:
        yield f"its state can't be stored as JSON: {error}"
        return
    statistics = drawn_statistics(rewards, 4)
    kept, restored = (run(statistics, each)[0] for each in (state, stored))
    if not _same(kept, restored):
        yield "after a checkpoint it goes on with another combination"


def _takes_one_reward(run: Method, rewards: tuple[str, ...]) -> Iterator[str]:
    """Where only one gradient is usable, it combines it or says in one line that it can't."""
    whole = drawn_statistics(rewards, 1)
    for place, name in enumerate(rewards):
        alone = Statistics(
            names=(name,),
            rewards=rewards,
            unit_gram=np.ones((1, 1)),
            norms=whole.norms[place : place + 1],
            loss_weights=whole.loss_weights[place : place + 1],
            step=1,
        )
        try:
            balance, _ = run(alone, None)
        except BadInputError:
            yield f"it took one usable gradient ({name}) for bad input"
        except MarbleError as error:
            if "\n" in str(error):
                yield "its error has more than one line"
        else:
            yield from _faults(balance, alone.norms)
