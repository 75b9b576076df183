from __future__ import annotations

import math

import numpy as np
import pytest

from marblecli.lab.gains import Gains, gains_of
from marblecli.lab.units import units_of
from support.lab import evaluation

PROMPTS = 12


def gains(a: float, b: float, noise: float = 0.01) -> Gains:
    rng = np.random.default_rng(0)

    def scores(gain: float) -> list[list[float | None]]:
        return [[gain + noise * rng.normal()] for _ in range(PROMPTS)]

    pairs = {
        seed: (
            evaluation(0, {"a": [[0.0]] * PROMPTS, "b": [[0.0]] * PROMPTS}, seed),
            evaluation(1, {"a": scores(a), "b": scores(b)}, seed),
        )
        for seed in (0, 1)
    }
    return gains_of(pairs, ("a", "b"), "held-out")


BASES = [evaluation(0, {"a": [[0.0], [2.0]], "b": [[1.0], [None]]})]


def test_a_share_of_one_is_the_specialists_own_gain() -> None:
    found = units_of(
        ("a", "b"),
        {"specialist-a": gains(0.5, -1.0), "specialist-b": gains(-1.0, 0.25)},
        BASES,
        "held-out",
    )
    assert found.kind == "specialist"
    assert found.by_reward == pytest.approx({"a": 0.5, "b": 0.25}, abs=0.02)


def test_without_all_specialists_it_is_the_base_models_deviation() -> None:
    found = units_of(("a", "b"), {"specialist-a": gains(0.5, 0.0)}, BASES, "held-out")
    assert found.kind == "deviation"
    assert found.by_reward["a"] == 1.0
    # A constant reward has none.
    assert math.isnan(found.by_reward["b"])
    assert "there aren't specialists of all rewards" in found.reason


def test_a_specialist_that_gains_nothing_is_no_measure() -> None:
    methods = {"specialist-a": gains(0.5, 0.0), "specialist-b": gains(0.0, 0.0, noise=0.5)}
    found = units_of(("a", "b"), methods, BASES, "held-out")
    assert found.kind == "deviation"
    assert "no significant gain was made by the specialists of b." in found.reason
