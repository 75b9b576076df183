from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marblecli.errors import BadInputError
from marblecli.maths.simplex_qp import SOLVERS, certify, solve_min_norm, solve_min_norm_cvxpy

EXACT = 1e-12


def unit_gram(points):
    points = points / np.linalg.norm(points, axis=1, keepdims=True)
    return points @ points.T


def random_points(rng, count):
    return rng.normal(size=(count, int(rng.integers(2, 3 * count + 2))))


def near_parallel(rng, count):
    spread = 10.0 ** rng.uniform(-10, -1)
    return np.ones((count, 5)) + spread * rng.normal(size=(count, 5))


def opposite(rng, count):
    half = random_points(rng, count // 2 + 1)
    noise = 10.0 ** rng.uniform(-10, -1) * rng.normal(size=half.shape)
    return np.concatenate([half, noise - half])[-count:]


def exactly_opposite(rng, count):
    half = random_points(rng, count // 2 + 1)
    return np.concatenate([half, -half])[:count]


def duplicates(rng, count):
    points = random_points(rng, count // 2 + 1)
    return points[rng.integers(0, len(points), size=count)]


def rank_deficient(rng, count):
    rank = int(rng.integers(1, count // 2 + 2))
    return rng.normal(size=(count, rank)) @ rng.normal(size=(rank, 2 * count))


def sharp_conflict(rng, count):
    """Every point has the same small part in common, and the rest cancels out."""
    common = 10.0 ** rng.uniform(-7, -1)
    around = rng.normal(size=(count, count + 1))
    around -= around.mean(axis=0) if count > 1 else 0.0
    around /= np.linalg.norm(around, axis=1, keepdims=True)
    return np.column_stack([around, np.full(count, common)])


def nearly_tied(rng, count):
    points = random_points(rng, count)
    for row in range(1, count):
        if rng.random() < 0.5:
            sign = rng.choice([-1.0, 1.0])
            noise = 10.0 ** rng.uniform(-12, -2) * rng.normal(size=points.shape[1])
            points[row] = sign * points[row - 1] + noise
    return points


FAMILIES = {
    family.__name__: family
    for family in (
        random_points,
        near_parallel,
        opposite,
        exactly_opposite,
        duplicates,
        rank_deficient,
        sharp_conflict,
        nearly_tied,
    )
}


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 64), seed=st.integers(0, 2**32 - 1))
def test_exact_on_adversarial_unit_grams(family, count, seed):
    gram = unit_gram(FAMILIES[family](np.random.default_rng(seed), count))
    solution = solve_min_norm(gram)
    assert solution.kkt_residual <= EXACT
    assert solution.duality_gap <= EXACT
    assert solution.weights.min() >= 0.0
    assert solution.weights.sum() == pytest.approx(1.0, abs=1e-14)


@settings(max_examples=60, deadline=None)
@given(count=st.integers(2, 16), seed=st.integers(0, 2**32 - 1))
def test_exact_on_raw_grams_of_different_norms(count, seed):
    rng = np.random.default_rng(seed)
    points = random_points(rng, count) * 10.0 ** rng.uniform(-1.5, 1.5, size=(count, 1))
    assert solve_min_norm(points @ points.T).kkt_residual <= EXACT


@settings(max_examples=40, deadline=None)
@given(count=st.integers(2, 12), seed=st.integers(0, 2**32 - 1))
def test_the_point_is_a_common_descent_direction(count, seed):
    """<g_k, d> >= ||d||² for every k, with equality where the weight isn't zero."""
    points = random_points(np.random.default_rng(seed), count)
    solution = solve_min_norm(points @ points.T)
    direction = solution.weights @ points
    products, squared_norm = points @ direction, direction @ direction
    scale = (points**2).sum(axis=1).max()
    assert (products >= squared_norm - EXACT * scale).all()
    assert products[solution.weights > 1e-9] == pytest.approx(squared_norm, abs=EXACT * scale)


@settings(max_examples=40, deadline=None)
@given(count=st.integers(2, 6), seed=st.integers(0, 2**32 - 1))
def test_no_face_of_the_hull_has_a_shorter_point(count, seed):
    """By trying every support, which is what the algorithm avoids."""
    gram = unit_gram(np.random.default_rng(seed).normal(size=(count, count + 2)))
    best = np.inf
    for size in range(1, count + 1):
        for support in combinations(range(count), size):
            solved = np.linalg.solve(gram[np.ix_(support, support)], np.ones(size))
            if (solved >= 0.0).all():
                best = min(best, 1.0 / solved.sum())
    assert solve_min_norm(gram).squared_norm == pytest.approx(best, rel=1e-10)


@pytest.mark.parametrize("factor", [1e-12, 1e-6, 1e6, 1e12])
def test_scale_free(factor):
    gram = unit_gram(np.random.default_rng(3).normal(size=(7, 4)))
    plain, scaled = solve_min_norm(gram), solve_min_norm(factor * gram)
    assert scaled.weights == pytest.approx(plain.weights, abs=1e-9)
    assert scaled.squared_norm == pytest.approx(factor * plain.squared_norm, rel=1e-9)
    assert scaled.kkt_residual <= EXACT


@settings(max_examples=30, deadline=None)
@given(count=st.integers(2, 10), seed=st.integers(0, 2**32 - 1))
def test_the_order_of_the_rewards_does_not_matter(count, seed):
    rng = np.random.default_rng(seed)
    gram = unit_gram(rng.normal(size=(count, count + 3)))
    order = rng.permutation(count)
    permuted = solve_min_norm(gram[np.ix_(order, order)]).weights
    assert permuted == pytest.approx(solve_min_norm(gram).weights[order], abs=1e-9)


@pytest.mark.parametrize(
    ("gram", "weights"),
    [
        pytest.param([[4.0]], [1.0], id="one"),
        pytest.param([[1.0, 0.0], [0.0, 1.0]], [0.5, 0.5], id="orthogonal"),
        pytest.param([[1.0, 0.0], [0.0, 4.0]], [0.8, 0.2], id="orthogonal, norms 1 and 2"),
        pytest.param([[1.0, -1.0], [-1.0, 1.0]], [0.5, 0.5], id="opposite"),
        pytest.param([[1.0, -2.0], [-2.0, 4.0]], [2 / 3, 1 / 3], id="opposite, norms 1 and 2"),
        pytest.param([[1.0, 2.0], [2.0, 5.0]], [1.0, 0.0], id="the first is the nearest"),
        pytest.param(np.diag([1.0, 2.0, 4.0]), [4 / 7, 2 / 7, 1 / 7], id="inverse squares"),
        pytest.param(np.ones((4, 4)), [0.25] * 4, id="all equal"),
        pytest.param(np.zeros((3, 3)), [1 / 3] * 3, id="all zero"),
        pytest.param(
            [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            [0.25, 0.25, 0.5],
            id="a duplicate shares its weight",
        ),
        pytest.param(
            [[1.0, -1.0, 0.0, 0.0], [-1.0, 1.0, 0.0, 0.0], [0, 0, 1.0, -1.0], [0, 0, -1.0, 1.0]],
            [0.25] * 4,
            id="two opposite pairs",
        ),
    ],
)
def test_worked_by_hand(gram, weights):
    solution = solve_min_norm(np.array(gram))
    assert solution.weights == pytest.approx(weights, abs=1e-8)
    assert solution.kkt_residual <= EXACT


@pytest.mark.parametrize("count", [2, 5, 64])
def test_equal_gradients_with_rounding_give_the_even_mixture(count):
    noise = np.random.default_rng(0).normal(size=(count, count))
    gram = np.ones((count, count)) + 1e-16 * (noise + noise.T)
    assert solve_min_norm(gram).weights == pytest.approx(1.0 / count, abs=1e-6)


@pytest.mark.parametrize("family", ["random_points", "duplicates", "rank_deficient", "opposite"])
def test_agrees_with_cvxpy(family):
    gram = unit_gram(FAMILIES[family](np.random.default_rng(11), 6))
    ours, theirs = solve_min_norm(gram), solve_min_norm_cvxpy(gram)
    assert theirs.kkt_residual < 1e-4
    assert ours.squared_norm == pytest.approx(theirs.squared_norm, abs=1e-7)
    assert ours.squared_norm <= theirs.squared_norm + EXACT


def test_floors_agree_with_cvxpy():
    gram = unit_gram(np.random.default_rng(5).normal(size=(5, 3)))
    floors = np.array([0.3, 0.0, 0.2, 0.05, 0.0])
    ours, theirs = solve_min_norm(gram, floors), solve_min_norm_cvxpy(gram, floors)
    assert ours.weights == pytest.approx(theirs.weights, abs=1e-4)
    assert ours.squared_norm == pytest.approx(theirs.squared_norm, abs=1e-7)


@pytest.mark.parametrize(
    ("floors", "weights"),
    [
        pytest.param([0.0, 0.1], [0.8, 0.2], id="met anyway"),
        pytest.param([0.0, 0.5], [0.5, 0.5], id="binding"),
        pytest.param([0.9, 0.0], [0.9, 0.1], id="binding on the other"),
    ],
)
def test_floors_worked_by_hand(floors, weights):
    solution = solve_min_norm(np.diag([1.0, 4.0]), np.array(floors))
    assert solution.weights == pytest.approx(weights, abs=1e-12)
    assert solution.kkt_residual <= EXACT


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(2, 12),
    share=st.floats(0.0, 0.99),
    family=st.sampled_from(sorted(FAMILIES)),
    seed=st.integers(0, 2**32 - 1),
)
def test_floors_are_met_and_the_rest_is_optimal(count, share, family, seed):
    rng = np.random.default_rng(seed)
    floors = share * rng.dirichlet(np.ones(count))
    solution = solve_min_norm(unit_gram(FAMILIES[family](rng, count)), floors)
    assert (solution.weights >= floors - 1e-15).all()
    assert solution.kkt_residual <= EXACT


def test_the_certificate_needs_no_solver_and_tells_wrong_weights():
    gram = np.diag([1.0, 4.0])
    right, wrong = certify(gram, np.array([0.8, 0.2])), certify(gram, np.array([0.5, 0.5]))
    assert right.squared_norm == pytest.approx(0.8)
    assert right.kkt_residual <= 1e-15
    # w = 1/2, 1/2: y = (1/2, 2), mu = 5/4, over the largest entry 4: slacks -3/16 and 3/16.
    assert wrong.kkt_residual == pytest.approx(3 / 16)
    assert wrong.duality_gap == pytest.approx(2 * (5 / 4 - 1 / 2) / 4)
    assert wrong.squared_norm - right.squared_norm <= 4 * wrong.duality_gap


@pytest.mark.parametrize("weights", [[0.8, 0.1], [1.6, 0.4], [1.2, -0.2]])
def test_weights_off_the_simplex_are_certified_as_wrong(weights):
    assert certify(np.diag([1.0, 4.0]), np.array(weights)).kkt_residual > 0.05


@pytest.mark.parametrize("solve", SOLVERS.values(), ids=SOLVERS.keys())
@pytest.mark.parametrize(
    ("gram", "message"),
    [
        ([[1.0, 0.0]], r"isn't square: its shape is \[1, 2\]"),
        ([1.0, 2.0], "isn't square"),
        ([], "empty"),
        ([[1.0, np.nan], [np.nan, 1.0]], "has nan in row 1, column 2"),
        ([[1.0, 0.0], [0.0, np.inf]], "has inf in row 2, column 2"),
        ([[1.0, 0.5], [0.0, 1.0]], "isn't symmetric"),
        ([[1.0, 2.0], [2.0, 1.0]], "no Gram matrix of any gradients"),
    ],
)
def test_what_is_no_gram_is_refused_in_one_line(solve, gram, message):
    with pytest.raises(BadInputError, match=message) as caught:
        solve(np.array(gram))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("floors", "message"),
    [
        ([0.5, 0.5], "sum to less than 1"),
        ([-0.1, 0.0], "must be 0 or more"),
        ([np.nan, 0.0], "must be 0 or more"),
        ([0.1], "1 floors were given for 2 rewards"),
    ],
)
def test_floors_that_cannot_be_met_are_refused(floors, message):
    with pytest.raises(BadInputError, match=message):
        solve_min_norm(np.eye(2), np.array(floors))
