from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from grams import high_dimensional, unit_gram
from marblecli.errors import MarbleError
from marblecli.maths.qp.exact import solve_min_norm
from marblecli.maths.qp.problem import certify
from marblecli.methods.method import LossInputs, Statistics
from marblecli.methods.published import (
    PublishedOptions,
    average_weights,
    build,
    published_targets,
    slsqp_weights,
)
from marblecli.types import ScoreStats


def test_slsqp_agrees_where_the_problem_is_easy():
    gram = unit_gram(high_dimensional(np.random.default_rng(0), 5))
    assert slsqp_weights(gram) == pytest.approx(solve_min_norm(gram).weights, abs=1e-3)


def test_slsqp_stops_early_on_a_sharp_conflict_and_is_on_the_simplex_all_the_same():
    """Its tolerance is absolute: with c* = 3e-3 the square is 1e-5, and being 1e-8 off shows."""
    worst = 0.0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        around = rng.normal(size=(5, 6))
        gram = unit_gram(np.column_stack([around - around.mean(axis=0), np.full(5, 3e-3)]))
        weights = slsqp_weights(gram)
        assert weights.sum() == pytest.approx(1.0)
        assert weights.min() >= 0.0
        worst = max(worst, certify(gram, weights).kkt_residual)
    assert worst > 1e-6


def test_the_average_starts_at_the_first_weights():
    assert average_weights(None, np.array([0.2, 0.8])).tolist() == [0.2, 0.8]


def test_the_average_worked_by_hand():
    found = average_weights(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    assert found == pytest.approx([0.7, 0.3])


def test_what_is_left_of_the_average_when_a_reward_goes_missing():
    """Of 0.2, 0.3 and 0.5, without the last: 0.4 and 0.6."""
    found = average_weights(np.array([0.2, 0.3]), np.array([1.0, 0.0]))
    assert found == pytest.approx([0.7 * 0.4 + 0.3, 0.7 * 0.6])
    assert average_weights(np.array([0.0, 0.0]), np.array([0.5, 0.5])).tolist() == [0.5, 0.5]


def test_the_published_loss_worked_by_hand():
    """Advantages 4 and 3 at weights .5 and .5, clipped at 2; one that doesn't apply counts as 0."""
    inputs = LossInputs(
        advantages=np.array([[4.0, 3.0], [1.0, 0.0]]),
        shares=np.array([[0.5, 1.0], [0.5, 0.0]]),
        coefficients=np.array([0.5, 0.5]),
        clip=2.0,
        images=8,
    )
    found = published_targets(inputs)
    assert found.optimality.tolist() == [1.0, 0.625]
    assert found.shares.tolist() == [1 / 8, 1 / 8]


def statistics(norms: list[float], coverage: list[float]) -> Statistics:
    count = len(norms)
    nothing = np.zeros((count, count))
    names = tuple("abc"[:count])
    return Statistics(
        names=names,
        rewards=names,
        unit_gram=np.eye(count),
        norms=np.array(norms),
        loss_weights=np.ones(count),
        step=1,
        scores=ScoreStats(np.array(coverage), nothing, nothing, None),
    )


def coefficients(**options: bool) -> list[float]:
    """For gradients of norms 1 and 3, the second of a reward that applies to a quarter."""
    method = build(PublishedOptions(**options))
    balance, _ = method(statistics([1.0, 3.0], [1.0, 0.25]), None)
    return balance.coefficients.tolist()


def test_each_of_its_two_faults_can_be_left_out():
    """Orthogonal unit gradients get even weights; the mean norm is 2."""
    assert coefficients() == pytest.approx([0.5, 0.5])
    assert coefficients(raw_weights=False) == pytest.approx([1.0, 1 / 3])
    assert coefficients(inapplicable_as_zero=False) == pytest.approx([0.5, 2.0])
    both = coefficients(raw_weights=False, inapplicable_as_zero=False)
    assert both == pytest.approx([1.0, 4 / 3])


def test_a_mean_over_a_rewards_own_images_needs_the_scores():
    method = build(PublishedOptions(inapplicable_as_zero=False))
    with pytest.raises(MarbleError, match="marble-published needs the batch's scores"):
        method(replace(statistics([1.0], [1.0]), scores=None), None)
