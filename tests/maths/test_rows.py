from __future__ import annotations

import numpy as np
import pytest

from marblecli.maths.rows import (
    SIZE_FLOOR,
    at_least,
    extremes,
    in_constant_group,
    inclusion_probabilities,
    pull_factors,
    row_sizes,
    systematic_sample,
)

GROUPS = np.array([0, 0, 1, 1, 2, 2])


def test_a_group_is_constant_only_if_no_reward_varies_in_it() -> None:
    values = np.array([[0.1, 1.0], [0.1, 1.0], [0.1, 1.0], [0.1, 2.0], [0.3, 0.0], [0.3, 9.0]])
    valid = np.ones((6, 2), dtype=bool)
    assert in_constant_group(values, valid, GROUPS).tolist() == [True, True] + [False] * 4
    # What is masked says nothing; one value alone doesn't vary.
    valid[5, 1] = False
    again = in_constant_group(values, valid, GROUPS)
    assert again.tolist() == [True, True, False, False, True, True]


def test_a_group_that_no_reward_applies_to_is_constant() -> None:
    nothing = np.zeros((6, 2), dtype=bool)
    assert in_constant_group(np.ones((6, 2)), nothing, GROUPS).all()


def test_of_one_reward_the_best_and_the_worst_halves_are_taken() -> None:
    advantages = np.array([[0.4], [-2.0], [1.0], [-0.1], [3.0], [-2.3]])
    chosen = extremes(advantages, 4, [0])
    assert np.flatnonzero(chosen).tolist() == [1, 2, 4, 5]


def test_rewards_take_turns_in_the_given_order() -> None:
    advantages = np.array([[2.0, 0.0], [-2.0, 0.1], [0.0, 5.0], [0.1, -5.0], [0.2, -0.1]])
    assert np.flatnonzero(extremes(advantages, 2, [0, 1])).tolist() == [0, 1]
    assert np.flatnonzero(extremes(advantages, 2, [1, 0])).tolist() == [2, 3]
    assert np.flatnonzero(extremes(advantages, 4, [0, 1])).tolist() == [0, 1, 2, 3]
    # The scale of a reward changes nothing.
    scaled = extremes(advantages * [1.0, 1e6], 2, [0, 1])
    assert np.flatnonzero(scaled).tolist() == [0, 1]


def test_a_reward_that_does_not_vary_has_no_turn() -> None:
    advantages = np.array([[0.0, 1.0], [0.0, -1.0], [0.0, 0.1]])
    assert np.flatnonzero(extremes(advantages, 2, [0, 1])).tolist() == [0, 1]


@pytest.mark.parametrize("count", [2, 6, 8])
def test_as_many_images_are_chosen_as_asked_for_if_there_are(count: int) -> None:
    for advantages in (np.random.default_rng(0).normal(size=(6, 3)), np.zeros((6, 3))):
        assert extremes(advantages, count, [2, 0, 1]).sum() == min(count, 6)


def test_the_pull_is_multiplied_by_reward() -> None:
    """The first reward has two of four images left, the second all of its one, the third none."""
    shares = np.array([[0.25, 1.0, 0.0], [0.25, 0.0, 0.0], [0.25, 0.0, 0.5], [0.25, 0.0, 0.5]])
    kept = np.array([True, True, False, False])
    assert pull_factors(shares, kept).tolist() == [2.0, 1.0, 1.0]


def test_a_reward_counts_by_its_own_spread() -> None:
    signals = np.random.default_rng(0).normal(size=(50, 3))
    np.testing.assert_allclose(row_sizes(signals), row_sizes(signals * [1e-6, 1.0, 300.0]))
    assert np.mean(row_sizes(signals) ** 2) == pytest.approx(1.0 + SIZE_FLOOR**2)


def test_rows_without_signal_keep_a_size() -> None:
    assert row_sizes(np.array([[0.0], [2.0]])) == pytest.approx(
        [SIZE_FLOOR, np.sqrt(2.0 + SIZE_FLOOR**2)]
    )
    assert row_sizes(np.zeros((3, 2))).tolist() == [1.0] * 3


def test_a_reward_without_signal_does_not_count() -> None:
    signals = np.array([[1.0, 0.0], [3.0, 0.0]])
    np.testing.assert_allclose(row_sizes(signals), row_sizes(signals[:, :1]))


def test_probabilities_follow_the_sizes_up_to_one() -> None:
    found = inclusion_probabilities(np.array([10.0, 1.0, 2.0, 1.0]), 2)
    assert found == pytest.approx([1.0, 0.25, 0.5, 0.25])
    assert inclusion_probabilities(np.array([1.0, 3.0]), 1) == pytest.approx([0.25, 0.75])
    assert inclusion_probabilities(np.array([1.0, 3.0]), 2) == pytest.approx([1.0, 1.0])


def test_probabilities_have_the_sum_that_is_asked_for() -> None:
    sizes = np.random.default_rng(0).lognormal(sigma=2.0, size=100)
    for count in (1, 17, 80, 100):
        found = inclusion_probabilities(sizes, count)
        assert found.sum() == pytest.approx(count)
        assert found.max() <= 1.0
        assert found.min() > 0.0


def test_each_row_is_drawn_with_its_probability_and_always_as_many_in_all() -> None:
    """All starts are gone through, in steps that divide every probability."""
    probabilities = np.array([1.0, 0.25, 0.5, 0.25, 0.75, 0.25])
    starts = (np.arange(400) + 0.5) / 400
    drawn = np.array([systematic_sample(probabilities, start) for start in starts])
    assert (drawn.sum(1) == 3).all()
    assert drawn.mean(0) == pytest.approx(probabilities)


def test_a_weighted_sum_of_drawn_rows_is_right_on_average() -> None:
    rng = np.random.default_rng(1)
    sizes, values = rng.lognormal(size=12), rng.normal(size=12)
    probabilities = inclusion_probabilities(sizes, 5)
    starts = (np.arange(20_000) + 0.5) / 20_000
    sums = [(values / probabilities)[systematic_sample(probabilities, s)].sum() for s in starts]
    assert np.mean(sums) == pytest.approx(values.sum(), abs=2e-3)


def test_the_drawn_sum_has_less_variance_where_the_sizes_tell_the_rows_apart() -> None:
    rng = np.random.default_rng(2)
    sizes = rng.lognormal(size=40)
    errors: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(2000):
        values = sizes * rng.normal(size=40)
        for by_size, found in errors.items():
            chosen = inclusion_probabilities(sizes if by_size else np.ones(40), 10)
            drawn = systematic_sample(chosen, rng.random())
            found.append(float((values / chosen)[drawn].sum() - values.sum()))
    assert np.var(errors[True]) < 0.6 * np.var(errors[False])


def test_every_process_gets_as_many_rows_as_it_needs() -> None:
    kept = np.array([[True, True], [False, False], [False, False], [False, True]])
    parts = [slice(0, 1), slice(1, 3), slice(3, 4), slice(4, 4)]
    assert at_least(kept, parts, 1).tolist() == [
        [True, True],
        [True, False],
        [False, False],
        [False, True],
    ]
    even = at_least(kept, parts, 2)
    assert [int(even[part].sum()) for part in parts] == [2, 2, 2, 0]
    assert (even | kept).tolist() == even.tolist()
