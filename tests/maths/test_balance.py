from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marblecli.errors import BadInputError, MarbleError
from marblecli.maths.balance import METHODS, balance
from marblecli.types import GradientStats


def stats_of(gradients, usable=None):
    gradients = np.asarray(gradients, dtype=float)
    usable = np.ones(len(gradients), dtype=bool) if usable is None else np.array(usable)
    gradients = np.where(usable[:, None], gradients, 0.0)
    names = tuple(f"reward-{number}" for number in range(len(gradients)))
    return GradientStats(names, gradients @ gradients.T, usable)


def different_norms(seed, count):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, count + 3)) * 30.0 ** rng.random((count, 1))


def test_marble_worked_by_hand():
    """Orthogonal, norms 1 and 3: s = 2, so 2 (1/2)/1 and 2 (1/2)/3."""
    found = balance(stats_of([[1.0, 0.0], [0.0, 3.0]]), "marble", np.ones(2))
    assert found.simplex_weights == pytest.approx([0.5, 0.5])
    assert found.coefficients == pytest.approx([1.0, 1 / 3])


def test_equal_worked_by_hand():
    """Norms 1 and 3 and any angle between them."""
    found = balance(stats_of([[1.0, 0.0], [3.0, 0.0]]), "equal", np.ones(2))
    assert found.simplex_weights == pytest.approx([0.5, 0.5])
    assert found.coefficients == pytest.approx([1.0, 1 / 3])


def test_weighted_sum_worked_by_hand():
    """Weights 1 and 3 of the losses, norms 2 and 1: unit gradients weigh as 2 to 3."""
    found = balance(stats_of([[2.0, 0.0], [0.0, 1.0]]), "weighted-sum", np.array([1.0, 3.0]))
    assert found.coefficients == pytest.approx([0.25, 0.75])
    assert found.simplex_weights == pytest.approx([0.4, 0.6])


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 8), seed=st.integers(0, 2**32 - 1))
def test_marble_is_a_common_descent_direction_whatever_the_norms(count, seed):
    gradients = different_norms(seed, count)
    found = balance(stats_of(gradients), "marble", np.ones(count))
    direction = found.coefficients @ gradients
    norms = np.linalg.norm(gradients, axis=1)
    cosines = gradients @ direction / (norms * np.linalg.norm(direction))
    unit_norm = np.linalg.norm(direction) / norms.mean()
    assert cosines.min() == pytest.approx(unit_norm, rel=1e-6)
    assert found.kkt_residual <= 1e-12


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 6), seed=st.integers(0, 2**32 - 1))
def test_weights_and_coefficients_are_the_same_direction(method, count, seed):
    gradients = different_norms(seed, count)
    found = balance(stats_of(gradients), method, np.arange(1.0, count + 1.0))
    assert found.simplex_weights.sum() == pytest.approx(1.0)
    assert found.simplex_weights.min() >= 0.0
    by_weights = found.simplex_weights / np.linalg.norm(gradients, axis=1)
    ratio = found.coefficients.sum() / by_weights.sum()
    assert found.coefficients == pytest.approx(ratio * by_weights)


@pytest.mark.parametrize("method", ["marble", "equal"])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_unit_of_a_reward_does_not_turn_the_direction(method, seed):
    gradients = different_norms(seed, 4)
    units = np.array([1.0, 30.0, 0.01, 7.0])
    plain = balance(stats_of(gradients), method, np.ones(4))
    scaled = balance(stats_of(gradients * units[:, None]), method, np.ones(4))
    assert scaled.simplex_weights == pytest.approx(plain.simplex_weights, abs=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_unusable_rewards_are_left_out_as_if_absent(method):
    gradients = different_norms(1, 4)
    kept = np.array([True, False, True, True])
    weights = np.array([1.0, 5.0, 2.0, 3.0])
    found = balance(stats_of(gradients, kept), method, weights)
    alone = balance(stats_of(gradients[kept]), method, weights[kept])
    assert found.simplex_weights[1] == 0.0
    assert found.coefficients[1] == 0.0
    assert found.simplex_weights[kept] == pytest.approx(alone.simplex_weights)
    assert found.coefficients[kept] == pytest.approx(alone.coefficients)


def test_solvers_agree():
    stats = stats_of(different_norms(4, 5))
    wolfe, cvxpy = (balance(stats, "marble", np.ones(5), name) for name in ("wolfe", "cvxpy"))
    assert cvxpy.simplex_weights == pytest.approx(wolfe.simplex_weights, abs=1e-4)


def test_floors_bind_and_those_of_unusable_rewards_are_dropped():
    stats = stats_of(np.eye(3), [True, True, False])
    found = balance(stats, "marble", np.ones(3), floors=np.array([0.7, 0.0, 0.2]))
    assert found.simplex_weights == pytest.approx([0.7, 0.3, 0.0])


def test_nothing_usable_is_an_error_that_names_the_rewards():
    with pytest.raises(MarbleError, match="in this batch: reward-0, reward-1"):
        balance(stats_of(np.eye(2), [False, False]), "marble", np.ones(2))


def test_weighted_sum_needs_a_weight_on_a_usable_reward():
    with pytest.raises(MarbleError, match="weight above 0"):
        balance(stats_of(np.eye(2), [True, False]), "weighted-sum", np.array([0.0, 1.0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "marbel"}, "'marbel' \\(did you mean 'marble'\\?\\); there are: equal, marble"),
        ({"method": "marble", "solver": "wolf"}, "unknown solver 'wolf'.*'wolfe'"),
        ({"method": "equal", "floors": np.array([0.1, 0.1])}, "only the method marble takes"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(BadInputError, match=message):
        balance(stats_of(np.eye(2)), loss_weights=np.ones(2), **options)
