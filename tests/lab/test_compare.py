from __future__ import annotations

import math

import numpy as np
import pytest

from marblecli.lab.compare import Pairs, compare
from marblecli.types import EvaluationRecord
from support.lab import evaluation

PROMPTS = 16


def run(seed: int, a: float, b: float) -> tuple[EvaluationRecord, EvaluationRecord]:
    """Gains of ``a`` and ``b``; all runs of a seed share large deviations from image to image."""
    base, shared = np.random.default_rng(seed).normal(size=(2, 2, PROMPTS, 2))

    def after(gain: float, place: int) -> list[list[float | None]]:
        found: list[list[float | None]] = (gain + base[place] + shared[place]).tolist()
        return found

    return (
        evaluation(0, {"a": base[0].tolist(), "b": base[1].tolist()}, seed),
        evaluation(5, {"a": after(a, 0), "b": after(b, 1)}, seed),
    )


def lab(**methods: tuple[float, float]) -> Pairs:
    return {
        name.replace("_", "-"): {seed: run(seed, *gains) for seed in (0, 1, 2)}
        for name, gains in methods.items()
    }


REWARDS = ("a", "b")
SPECIALISTS = {"specialist_a": (6.0, -3.0), "specialist_b": (-3.0, 3.0)}


def test_shares_are_of_the_specialists_gains() -> None:
    found = compare(lab(good=(4.0, 2.0), greedy=(6.0, 0.0), **SPECIALISTS), REWARDS)
    units = found.units.by_reward
    good = found.methods[0]
    assert found.units.kind == "specialist"
    assert good.gains["held-out"]["a"].value == pytest.approx(4.0, abs=0.5)
    for name in REWARDS:
        assert good.shares[name].value == pytest.approx(
            good.gains["held-out"][name].value / units[name]
        )
    assert good.worst.value == min(share.value for share in good.shares.values())
    assert good.mean.value == pytest.approx(np.mean([s.value for s in good.shares.values()]))
    greedy = found.methods[1]
    assert greedy.worst_reward == "b"
    assert greedy.worst.low <= greedy.worst.value <= greedy.worst.high


def test_a_difference_that_is_the_same_in_every_pair_is_known_exactly() -> None:
    """The deviations are far larger than .1, but both methods have the same."""
    found = compare(lab(equal=(1.0, 1.0), better=(1.1, 1.0)), REWARDS)
    (difference,) = found.differences
    assert found.reference == "equal"
    assert difference.gains["a"].value == pytest.approx(0.1)
    assert difference.gains["b"].value == pytest.approx(0.0)
    assert difference.mean.low > 0.0 or math.isnan(difference.mean.low)
    gain = found.methods[0].gains["held-out"]["a"]
    assert gain.high - gain.low > 0.3


def test_differences_are_over_the_seeds_that_both_have() -> None:
    pairs = dict(lab(equal=(1.0, 1.0), better=(1.1, 1.0)))
    pairs["better"] = {seed: each for seed, each in pairs["better"].items() if seed != 1}
    found = compare(pairs, REWARDS, reference="better")
    (difference,) = found.differences
    assert (difference.method, difference.seeds) == ("equal", (0, 2))
    assert difference.gains["a"].value == pytest.approx(-0.1)


def test_wins_are_counted_seed_by_seed_and_specialists_take_no_part() -> None:
    found = compare(lab(good=(4.0, 2.0), greedy=(6.0, -2.0), **SPECIALISTS), REWARDS)
    assert found.wins == {("good", "greedy"): (3, 3), ("greedy", "good"): (0, 3)}


def test_a_reward_that_nothing_scored_has_no_share() -> None:
    found = compare(lab(equal=(1.0, 1.0)), ("a", "b", "c"))
    assert found.methods[0].shares.keys() == {"a", "b"}
    assert not math.isnan(found.methods[0].worst.value)


def test_training_prompts_serve_where_there_are_no_others() -> None:
    def moved(record: EvaluationRecord) -> EvaluationRecord:
        return EvaluationRecord(
            record.step, record.subject, {"train": record.images["held-out"]}, seed=record.seed
        )

    pairs = {
        name: {seed: (moved(one), moved(two)) for seed, (one, two) in each.items()}
        for name, each in lab(equal=(1.0, 1.0)).items()
    }
    found = compare(pairs, REWARDS)
    assert found.split == "train"
    assert found.methods[0].gains.keys() == {"train"}


def test_a_constant_reward_has_no_share() -> None:
    nothing: list[list[float | None]] = [[0.0]] * PROMPTS
    pair = evaluation(0, {"a": nothing}), evaluation(1, {"a": nothing})
    (found,) = compare({"equal": {0: pair}}, ["a"]).methods
    assert not found.shares
    assert math.isnan(found.worst.value)
    assert math.isnan(found.mean.value)
