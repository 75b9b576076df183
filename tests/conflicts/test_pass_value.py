from __future__ import annotations

import math

import numpy as np
import pytest

from marblecli.conflicts.pass_value import (
    OtherGeometry,
    PassValue,
    StepValue,
    value_between_batches,
    value_of_halves,
)
from marblecli.maths.passes import ImagePasses
from support.records import noisy_records, record_of

PASSES = ImagePasses(8, 4, 4.0)
"""24 in all."""


def value(squared: float, passes: ImagePasses = PASSES, spread: float = 0.0) -> PassValue:
    """Of one reward, whose figure without each of four batches differs by ``spread``."""
    figure = squared / passes.total
    without = figure * (1.0 + spread * np.array([-1.0, 1.0, -1.0, 1.0]))
    return PassValue("batches", passes, {"a": squared}, without)


def geometry(name: str, times: float, error: float) -> OtherGeometry:
    return OtherGeometry((name,), value(1.0), times, error)


def test_a_figure_worked_by_hand() -> None:
    """(3, 1) and (3, -1) have the squared ratio 8 / 2, and (1, 1) twice has no noise."""
    vectors = [np.array([[3.0, 1.0], [2.0, 1.0]]), np.array([[3.0, -1.0], [2.0, -1.0]])]
    found = value_between_batches(["a", "b"], [*vectors, *vectors], PASSES)
    assert found.batches == 4
    assert list(found.squared) == ["a", "b"]
    mean = (found.squared["a"] + found.squared["b"]) / 2.0
    assert found.per_pass == pytest.approx(mean / 24.0)


def test_halves_and_batches_agree_where_every_prompt_is_new() -> None:
    """Signal over noise is .5 in each half, so the squared ratio of both together is .5."""
    found = value_of_halves(noisy_records(0.0, 0.5, batches=60), PASSES)
    assert found is not None
    assert found.pairs == "halves"
    assert abs(24.0 * found.per_pass - 0.5) < 3.0 * 24.0 * found.error
    assert 0.0 < 24.0 * found.error < 0.2


def test_too_few_halves_have_no_figure() -> None:
    assert value_of_halves([record_of(np.eye(2), np.eye(2))] * 2, PASSES) is None


def test_a_reward_without_a_gradient_is_left_out() -> None:
    rng = np.random.default_rng(0)
    vectors = [np.stack([np.eye(50)[0] + rng.normal(size=50) / 7.0, np.zeros(50)]) for _ in "12345"]
    found = value_between_batches(["a", "b"], vectors, PASSES)
    assert math.isnan(found.squared["b"])
    assert found.per_pass == pytest.approx(found.squared["a"] / 24.0)
    assert math.isfinite(found.error)


def test_half_the_passes_buy_twice_as_much() -> None:
    times, error = value(0.5, ImagePasses(4, 2, 4.0)).times(value(0.5))
    assert times == pytest.approx(2.0)
    assert error == pytest.approx(0.0, abs=1e-12)


def test_what_two_geometries_have_in_common_cancels_in_their_ratio() -> None:
    one, other = value(0.4, spread=0.1), value(0.2, spread=0.1)
    assert one.error > 0.0
    assert one.times(other) == pytest.approx((2.0, 0.0), abs=1e-12)


def test_nothing_is_a_multiple_of_no_signal() -> None:
    assert all(map(math.isnan, value(0.5).times(value(-0.1))))


def test_the_best_is_one_that_is_significantly_better() -> None:
    others = (geometry("sure", 1.5, 0.1), geometry("noisy", 3.0, 1.2), geometry("sure 2", 1.4, 0.1))
    found = StepValue(value(1.0), 72, others=others).best
    assert found is not None
    assert found.overrides == ("sure",)
    assert StepValue(value(1.0), 72, others=others[1:2]).best is None
    assert not geometry("unknown", math.nan, math.nan).better
