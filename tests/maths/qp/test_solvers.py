from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grams import FAMILIES, high_dimensional, random_points, unit_gram
from marblecli.errors import BadInputError, MarbleError
from marblecli.maths.qp.cvxpy_solvers import solve_min_norm_cvxpy
from marblecli.maths.qp.exact import solve_min_norm
from marblecli.maths.qp.problem import certify
from marblecli.maths.qp.solvers import SOLVERS, find_solver

EXACT = 1e-12


def cosines(gram, weights):
    return gram @ weights / np.sqrt(weights @ gram @ weights)


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


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(2, 16),
    least=st.sampled_from([-12.0, -6.0, -1.5]),
    most=st.sampled_from([1.5, 6.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_exact_on_raw_grams_of_different_norms(family, count, least, most, seed):
    rng = np.random.default_rng(seed)
    norms = 10.0 ** rng.uniform(least, most, size=count)
    gram = unit_gram(FAMILIES[family](rng, count)) * np.outer(norms, norms)
    assert solve_min_norm(gram).kkt_residual <= EXACT


@settings(max_examples=30, deadline=None)
@given(count=st.integers(2, 16), seed=st.integers(0, 2**32 - 1))
def test_the_smallest_of_very_different_gradients_is_served_too(count, seed):
    """The certificate is relative to the largest; a definite Gram is solved in its own units."""
    rng = np.random.default_rng(seed)
    norms = 10.0 ** rng.uniform(-12.0, 6.0, size=count)
    gram = unit_gram(high_dimensional(rng, count)) * np.outer(norms, norms)
    weights = solve_min_norm(gram).weights
    direction, squared_norm = gram @ weights, weights @ gram @ weights
    assert ((direction - squared_norm) / (norms * np.sqrt(squared_norm)) >= -1e-9).all()


@pytest.mark.parametrize("count", [2, 5, 16, 64])
@pytest.mark.parametrize("cosine", [1e-1, 1e-2, 1e-3, 1e-4])
def test_sharp_conflicts_are_told_to_the_digits_that_the_gram_holds(cosine, count):
    """A regular simplex around the part that its corners have in common: that part is c*."""
    simplex = np.eye(count) - 1.0 / count
    gram = cosine**2 + (1.0 - cosine**2) * simplex / simplex[0, 0]
    solution = solve_min_norm(gram)
    assert solution.weights == pytest.approx(1.0 / count, abs=1e-7)
    assert cosines(gram, solution.weights) == pytest.approx(cosine, rel=1e-6)
    assert solution.kkt_residual <= EXACT


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


@settings(max_examples=60, deadline=None)
@given(count=st.integers(2, 12), share=st.sampled_from([0.0, 0.5]), seed=st.integers(0, 2**32 - 1))
def test_priorities_are_the_ratios_of_the_cosines(count, share, seed):
    """<g_k, d> / p_k is the same wherever the weight is above its floor, and larger elsewhere."""
    rng = np.random.default_rng(seed)
    gram = unit_gram(high_dimensional(rng, count))
    priorities = 10.0 ** rng.uniform(-1.0, 1.0, size=count)
    solution = solve_min_norm(gram, priorities=priorities)
    per_priority = cosines(gram, solution.weights) / priorities
    assert per_priority[solution.weights > 1e-9] == pytest.approx(per_priority.min(), rel=1e-9)
    floors = share * rng.dirichlet(np.ones(count))
    floored = solve_min_norm(gram, floors, priorities)
    assert floored.kkt_residual <= EXACT
    assert (floored.weights >= floors - 1e-15).all()


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(2, 8),
    factor=st.floats(1.0, 100.0),
    family=st.sampled_from(["random_points", "high_dimensional", "sharp_conflict"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_higher_priority_never_costs_its_own_reward(count, factor, family, seed):
    rng = np.random.default_rng(seed)
    gram = unit_gram(FAMILIES[family](rng, count))
    lower = 10.0 ** rng.uniform(-1.0, 1.0, size=count)
    higher = lower * np.where(np.arange(count) == 0, factor, 1.0)
    before, after = solve_min_norm(gram, None, lower), solve_min_norm(gram, None, higher)
    if min(before.squared_norm, after.squared_norm) > 1e-8:
        change = cosines(gram, after.weights) - cosines(gram, before.weights)
        assert change[0] >= -1e-7
    assert max(before.kkt_residual, after.kkt_residual) <= EXACT


@settings(max_examples=30, deadline=None)
@given(
    family=st.sampled_from(sorted(FAMILIES)),
    count=st.integers(2, 16),
    value=st.sampled_from([1e-6, 0.3, 1.0, 1e6]),
    seed=st.integers(0, 2**32 - 1),
)
def test_equal_priorities_are_none(family, count, value, seed):
    gram = unit_gram(FAMILIES[family](np.random.default_rng(seed), count))
    plain, equal = solve_min_norm(gram), solve_min_norm(gram, None, np.full(count, value))
    assert equal.weights == pytest.approx(plain.weights, abs=1e-12)


def test_priorities_worked_by_hand():
    """Orthogonal, p = 1 and 2: cosines 1 to 2, so d is along (1, 2)."""
    solution = solve_min_norm(np.eye(2), priorities=np.array([1.0, 2.0]))
    assert solution.weights == pytest.approx([1 / 3, 2 / 3], abs=1e-12)
    assert solution.squared_norm == pytest.approx(5 / 9)
    assert solution.kkt_residual <= EXACT
    assert solution.duality_gap <= EXACT


def test_floors_and_priorities_worked_by_hand():
    """The priorities alone would give 1/3 and 2/3; a floor of 1/2 under the first binds."""
    solution = solve_min_norm(np.eye(2), np.array([0.5, 0.0]), np.array([1.0, 2.0]))
    assert solution.weights == pytest.approx([0.5, 0.5], abs=1e-12)
    assert solution.kkt_residual <= EXACT


def test_weights_that_are_no_numbers_are_certified_as_wrong():
    assert certify(np.eye(2), np.array([np.nan, 1.0])).kkt_residual == np.inf


def test_wrong_priorities_are_certified_as_wrong():
    even, priorities = np.array([0.5, 0.5]), np.array([1.0, 2.0])
    wrong = certify(np.eye(2), even, priorities=priorities)
    # d = (1/2, 1/2) / (3/2) = (1/3, 1/3), of the points (1, 0) and (0, 1/2): products 1/3 and 1/6,
    # shares 1/3 and 2/3, ||d||² = 2/9.
    assert wrong.kkt_residual == pytest.approx(1 / 9)
    assert wrong.duality_gap == pytest.approx(2 * (2 / 9 - 1 / 6))


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


@pytest.mark.parametrize("backend", ["CLARABEL", "OSQP", "SCS"])
def test_cvxpy_s_solvers_agree(backend):
    rng = np.random.default_rng(6)
    gram = unit_gram(rng.normal(size=(5, 4)))
    floors, priorities = np.array([0.3, 0.0, 0.1, 0.0, 0.0]), np.array([1.0, 2.0, 1.0, 0.5, 1.0])
    theirs = find_solver(f"cvxpy:{backend.lower()}")(gram, floors, priorities)
    assert theirs.weights == pytest.approx(
        solve_min_norm(gram, floors, priorities).weights, abs=1e-4
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wolf", "unknown solver 'wolf' .did you mean 'wolfe'..; there are: cvxpy, cvxpy:NAME, wo"),
        ("cvxpy:OSPQ", "'cvxpy:OSPQ' .did you mean 'cvxpy:OSQP'..; there are: cvxpy:CLARABEL, "),
        ("cvxpy:", "unknown solver 'cvxpy:'.*there are: cvxpy:CLARABEL"),
    ],
)
def test_an_unknown_solver_is_refused_with_those_installed(name, message):
    with pytest.raises(BadInputError, match=message) as caught:
        find_solver(name)
    assert "\n" not in str(caught.value)


def test_a_solver_that_cannot_do_it_says_so_in_one_line():
    """SciPy's solvers, as cvxpy knows them, are for linear programs."""
    with pytest.raises(MarbleError, match="cvxpy:SCIPY failed on the min-norm problem") as caught:
        find_solver("cvxpy:scipy")(np.eye(2))
    assert "\n" not in str(caught.value)


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


@pytest.mark.parametrize(
    ("priorities", "message"),
    [
        ([1.0, 0.0], "must be above 0"),
        ([1.0, -1.0], "must be above 0"),
        ([np.inf, 1.0], "must be above 0"),
        ([1.0], "1 priorities were given for 2 rewards"),
    ],
)
def test_priorities_that_cannot_be_used_are_refused(priorities, message):
    with pytest.raises(BadInputError, match=message):
        solve_min_norm(np.eye(2), None, np.array(priorities))


def test_a_gram_that_was_rounded_in_a_file_is_solved():
    """Three digits make it indefinite."""
    gram = np.round(unit_gram(np.random.default_rng(2).normal(size=(8, 3))), 3)
    assert np.linalg.eigvalsh(gram)[0] < 0.0
    solution = solve_min_norm(gram)
    assert solution.weights.min() >= 0.0
    assert solution.kkt_residual < 1e-2
