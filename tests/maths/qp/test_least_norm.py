from __future__ import annotations

import numpy as np
import pytest

from marblecli.maths.qp.exact import solve_min_norm
from marblecli.maths.qp.least_norm import least_norm


def test_worked_by_hand() -> None:
    """Orthogonal vectors of length 1 and 2, each to be met: u = 1 and 1/4, as 4 u >= 1."""
    gram = np.diag([1.0, 4.0])
    found = least_norm(gram, gram, np.ones(2))
    assert found is not None
    assert found.weights == pytest.approx([1.0, 0.25], abs=1e-7)
    assert found.kkt_residual < 1e-8


def test_a_weight_that_would_be_negative_is_zero() -> None:
    """The second is met by the first alone, and only costs length."""
    gram = np.array([[1.0, 0.9], [0.9, 1.0]])
    found = least_norm(gram, gram, np.array([1.0, 0.5]))
    assert found is not None
    assert found.weights == pytest.approx([1.0, 0.0], abs=1e-7)


@pytest.mark.parametrize("count", [2, 5, 12])
def test_of_a_gram_with_itself_it_is_the_min_norm_point(count: int) -> None:
    """The point of a hull that is nearest to zero has the largest least product, for its length."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        vectors = rng.normal(size=(count, 2 * count)) + 0.3
        vectors /= np.linalg.norm(vectors, axis=1)[:, None]
        gram = vectors @ vectors.T
        found = least_norm(gram, gram, np.ones(count))
        assert found is not None
        assert found.kkt_residual < 1e-6
        expected = solve_min_norm(gram).weights
        assert found.weights / found.weights.sum() == pytest.approx(expected, abs=1e-5)


def test_no_feasible_weights_are_better() -> None:
    """Against 20000 random feasible ones, of a problem whose matrices differ."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3, 6))
    gram = vectors @ vectors.T
    products = np.eye(3) + 0.4 * rng.normal(size=(3, 3))
    found = least_norm(gram, products, np.ones(3))
    assert found is not None
    least = found.weights @ gram @ found.weights
    assert (products @ found.weights >= 1.0 - 1e-6).all()
    drawn = rng.exponential(size=(20000, 3))
    gains = (drawn @ products.T).min(axis=1)
    feasible = drawn[gains > 0.0] / gains[gains > 0.0, None]
    assert len(feasible) > 1000
    assert np.einsum("ij,jk,ik->i", feasible, gram, feasible).min() >= least - 1e-6


def test_what_can_not_be_met_has_no_solution() -> None:
    gram = np.array([[1.0, -1.0], [-1.0, 1.0]])
    assert least_norm(gram, gram, np.ones(2)) is None
    assert least_norm(np.eye(1), np.zeros((1, 1)), np.ones(1)) is None


def test_equal_vectors_share_evenly() -> None:
    gram = np.ones((3, 3))
    found = least_norm(gram, gram, np.ones(3))
    assert found is not None
    assert found.weights == pytest.approx([1 / 3] * 3, abs=1e-6)
