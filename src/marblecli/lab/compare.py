"""The paired comparison of a lab's methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from marblecli.lab.gains import Draws, Gains, draw, gains_of
from marblecli.lab.recipe import SPECIALIST
from marblecli.lab.units import Units, units_of
from marblecli.seeding import stream
from marblecli.types import EvaluationRecord, FloatArray

HELD_OUT = "held-out"
SPLITS = (HELD_OUT, "train")


@dataclass(frozen=True)
class Amount:
    """A mean over seeds and images, with its 95 % interval; NaN where there is none."""

    value: float
    low: float = float("nan")
    high: float = float("nan")


@dataclass(frozen=True)
class MethodGains:
    """What one method gains."""

    method: str
    seeds: tuple[int, ...]
    gains: Mapping[str, Mapping[str, Amount]]
    """By split and reward."""
    shares: Mapping[str, Amount]
    """By reward, the held-out gain in units."""
    worst: Amount
    """The share of the reward that gains least."""
    worst_reward: str
    mean: Amount
    """The mean of the shares."""
    worst_by_seed: Mapping[int, float]

    @property
    def is_specialist(self) -> bool:
        """Whether one reward alone was trained."""
        return self.method.startswith(SPECIALIST)


@dataclass(frozen=True)
class Difference:
    """One method less the reference, over the seeds that both have, paired by seed and image."""

    method: str
    seeds: tuple[int, ...]
    gains: Mapping[str, Amount]
    """By reward, on held-out prompts."""
    worst: Amount
    mean: Amount


@dataclass(frozen=True)
class Comparison:
    """All methods of a lab, as far as they are finished."""

    rewards: tuple[str, ...]
    split: str
    """Of the shares, wins and differences: held-out prompts, if there are any."""
    units: Units
    methods: tuple[MethodGains, ...]
    reference: str
    differences: tuple[Difference, ...]
    wins: Mapping[tuple[str, str], tuple[int, int]]
    """By two methods: the seeds in which the first one's worst share is larger, and all seeds that
    both have. Specialists have none."""


Pairs = Mapping[str, Mapping[int, tuple[EvaluationRecord, EvaluationRecord]]]
"""By method and seed, the evaluations of the base model and of the trained weights."""


def compare(pairs: Pairs, rewards: Sequence[str], reference: str | None = None) -> Comparison:
    """Compare the methods of ``pairs``, each of which has at least one seed.

    Differences are from the ``reference``; from the first method if that is absent. Raises
    BadInputError if evaluations can't be paired.
    """
    gains = {
        split: {name: gains_of(each, rewards, split) for name, each in pairs.items()}
        for split in SPLITS
    }
    split = next((s for s in SPLITS if any(g.counts.any() for g in gains[s].values())), HELD_OUT)
    bases = {seed: pair[0] for each in pairs.values() for seed, pair in each.items()}
    units = units_of(rewards, gains[split], list(bases.values()), split)
    scale = np.array([units.by_reward[name] for name in rewards])
    methods = tuple(_method(name, rewards, gains, split, scale) for name in pairs)
    first = next(iter(pairs)) if reference is None or reference not in pairs else reference
    return Comparison(
        rewards=tuple(rewards),
        split=split,
        units=units,
        methods=methods,
        reference=first,
        differences=tuple(
            found
            for name in pairs
            if name != first
            and (found := _difference(name, rewards, gains[split], first, scale)) is not None
        ),
        wins=_wins([each for each in methods if not each.is_specialist]),
    )


def _method(
    name: str,
    rewards: Sequence[str],
    gains: Mapping[str, Mapping[str, Gains]],
    split: str,
    scale: FloatArray,
) -> MethodGains:
    own = gains[split][name]
    shares, drawn = own.means / scale, own.redrawn(_draws(own)) / scale
    by_seed = _worst(own.by_seed.T / scale)
    worst = int(np.nanargmin(shares)) if not np.isnan(shares).all() else 0
    return MethodGains(
        method=name,
        seeds=own.seeds,
        gains={
            each: _by_reward(rewards, found.means, found.redrawn(_draws(found)))
            for each, by_method in gains.items()
            if (found := by_method[name]).counts.any()
        },
        shares=_by_reward(rewards, shares, drawn),
        worst=_amount(float(_worst(shares[None])[0]), _worst(drawn)),
        worst_reward=rewards[worst],
        mean=_amount(float(_mean(shares[None])[0]), _mean(drawn)),
        worst_by_seed=dict(zip(own.seeds, by_seed.tolist(), strict=True)),
    )


def _difference(
    name: str, rewards: Sequence[str], gains: Mapping[str, Gains], first: str, scale: FloatArray
) -> Difference | None:
    seeds = [seed for seed in gains[name].seeds if seed in gains[first].seeds]
    if not seeds:
        return None
    one, other = gains[name].only(seeds), gains[first].only(seeds)
    draws = _draws(one)
    means = one.means, other.means
    drawn = one.redrawn(draws), other.redrawn(draws)
    shares = [each[None] / scale for each in means]
    drawn_shares = [each / scale for each in drawn]

    def differ(summary: FloatArray, less: FloatArray, all_draws: FloatArray) -> Amount:
        return _amount(float((summary - less)[0]), all_draws)

    return Difference(
        method=name,
        seeds=tuple(seeds),
        gains=_by_reward(rewards, means[0] - means[1], drawn[0] - drawn[1]),
        worst=differ(
            _worst(shares[0]), _worst(shares[1]), _worst(drawn_shares[0]) - _worst(drawn_shares[1])
        ),
        mean=differ(
            _mean(shares[0]), _mean(shares[1]), _mean(drawn_shares[0]) - _mean(drawn_shares[1])
        ),
    )


def _wins(methods: Sequence[MethodGains]) -> dict[tuple[str, str], tuple[int, int]]:
    found = {}
    for one in methods:
        for other in methods:
            seeds = [s for s in one.worst_by_seed if s in other.worst_by_seed]
            won = sum(one.worst_by_seed[s] > other.worst_by_seed[s] for s in seeds)
            if one is not other:
                found[one.method, other.method] = (won, len(seeds))
    return found


def _draws(gains: Gains) -> Draws:
    """The same for all methods with as many seeds and prompts, so that differences are paired."""
    return draw(*gains.shape, stream(0, "lab"))


def _by_reward(rewards: Sequence[str], values: FloatArray, drawn: FloatArray) -> dict[str, Amount]:
    return {
        name: _amount(float(values[place]), drawn[:, place])
        for place, name in enumerate(rewards)
        if not np.isnan(values[place])
    }


def _amount(value: float, drawn: FloatArray) -> Amount:
    known = drawn[~np.isnan(drawn)]
    if not len(known) or np.isclose(known.min(), known.max(), rtol=1e-12, atol=1e-15):
        return Amount(value)
    low, high = np.quantile(known, [0.025, 0.975])
    return Amount(value, float(low), float(high))


def _worst(shares: FloatArray) -> FloatArray:
    """The least of each row of [..., K], without the rewards that have none."""
    least = np.where(np.isnan(shares), np.inf, shares).min(-1)
    found: FloatArray = np.where(np.isinf(least), np.nan, least)
    return found


def _mean(shares: FloatArray) -> FloatArray:
    known = ~np.isnan(shares)
    count = known.sum(-1)
    total = np.where(known, shares, 0.0).sum(-1) / np.maximum(count, 1)
    found: FloatArray = np.where(count > 0, total, np.nan)
    return found
