from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marblecli.maths.advantages import STD_OFFSET, advantages, optimality_probability


def batch(seed, count=24, rewards=3):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, rewards))
    valid = rng.random((count, rewards)) < 0.7
    return values, valid, rng.integers(0, 5, size=count)


def test_batch_scale_worked_by_hand():
    """The group means are 1 and 5; the batch (0, 2, 4, 6) has mean 3 and variance 5."""
    values = np.array([[0.0], [2.0], [4.0], [6.0]])
    found = advantages(values, np.ones((4, 1), dtype=bool), np.array([7, 7, 3, 3]))
    one = 1.0 / (np.sqrt(5.0) + 1e-4)
    assert found[:, 0] == pytest.approx([-one, one, -one, one], rel=1e-14)


def test_group_scale_worked_by_hand():
    """The groups' own deviations are 1 and 3."""
    values = np.array([[0.0], [2.0], [1.0], [7.0]])
    found = advantages(values, np.ones((4, 1), dtype=bool), np.array([0, 0, 1, 1]), "group")
    small, large = 1.0 / (1.0 + 1e-4), 3.0 / (3.0 + 1e-4)
    assert found[:, 0] == pytest.approx([-small, small, -large, large], rel=1e-14)


def test_masked_entries_neither_count_nor_get_an_advantage():
    """Without the masked 100, the group is (0, 2)."""
    values = np.array([[0.0], [100.0], [2.0]])
    valid = np.array([[True], [False], [True]])
    found = advantages(values, valid, np.array([0, 0, 0]))
    one = 1.0 / (1.0 + 1e-4)
    assert found[:, 0] == pytest.approx([-one, 0.0, one], rel=1e-14)


@pytest.mark.parametrize("scale", ["batch", "group"])
@given(seed=st.integers(0, 2**32 - 1))
def test_masked_values_change_nothing(scale, seed):
    values, valid, groups = batch(seed)
    other = np.where(valid, values, np.nan)
    expected = advantages(values, valid, groups, scale)
    np.testing.assert_array_equal(advantages(other, valid, groups, scale), expected)
    assert (expected[~valid] == 0.0).all()


@pytest.mark.parametrize("scale", ["batch", "group"])
@given(seed=st.integers(0, 2**32 - 1))
def test_each_group_has_mean_zero(scale, seed):
    values, valid, groups = batch(seed)
    found = advantages(values, valid, groups, scale)
    for group in np.unique(groups):
        assert found[groups == group].sum(axis=0) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("scale", ["batch", "group"])
@given(
    seed=st.integers(0, 2**32 - 1),
    shift=st.floats(-10.0, 10.0),
    factor=st.floats(0.5, 100.0),
)
def test_shift_and_unit_of_a_reward_do_not_matter(scale, seed, shift, factor):
    """This holds up to the offset, which changes A by its share of sigma; sigma is about 1 here."""
    values, valid, groups = batch(seed)
    expected = advantages(values, valid, groups, scale)
    np.testing.assert_allclose(
        advantages(values + shift, valid, groups, scale), expected, rtol=1e-6, atol=1e-9
    )
    exact = advantages(factor * values, valid, groups, scale)
    sigma = expected_sigma(values, valid, groups, scale)
    corrected = expected * (sigma + STD_OFFSET) / (sigma + STD_OFFSET / factor)
    np.testing.assert_allclose(exact, corrected, rtol=1e-9, atol=1e-9)


def expected_sigma(values, valid, groups, scale):
    sigma = np.zeros_like(values)
    for reward in range(values.shape[1]):
        for image in range(len(values)):
            cell = valid[:, reward] & ((groups == groups[image]) | (scale == "batch"))
            sigma[image, reward] = values[cell, reward].std() if cell.any() else 0.0
    return sigma


@given(seed=st.integers(0, 2**32 - 1))
def test_order_of_images_and_rewards_does_not_matter(seed):
    values, valid, groups = batch(seed)
    rng = np.random.default_rng(seed)
    images, rewards = rng.permutation(len(values)), rng.permutation(values.shape[1])
    pick = np.ix_(images, rewards)
    permuted = advantages(values[pick], valid[pick], groups[images])
    expected = advantages(values, valid, groups)[pick]
    np.testing.assert_allclose(permuted, expected, rtol=1e-12, atol=1e-12)


def test_a_constant_reward_has_no_advantage():
    found = advantages(np.full((6, 1), 0.1), np.ones((6, 1), dtype=bool), np.arange(6) // 3)
    assert found == pytest.approx(0.0, abs=1e-9)


def test_optimality_probability_worked_by_hand():
    found = optimality_probability(np.array([-9.0, -5.0, -1.0, 0.0, 2.5, 5.0, 9.0]), 5.0)
    assert found == pytest.approx([0.0, 0.0, 0.4, 0.5, 0.75, 1.0, 1.0])


@given(seed=st.integers(0, 2**32 - 1), clip=st.floats(0.1, 10.0))
def test_optimality_probability_is_monotone_and_odd_about_one_half(seed, clip):
    found = np.sort(np.random.default_rng(seed).normal(size=20) * 5.0)
    r = optimality_probability(found, clip)
    assert (np.diff(r) >= 0.0).all()
    assert ((r >= 0.0) & (r <= 1.0)).all()
    assert optimality_probability(-found, clip) == pytest.approx(1.0 - r)


def test_masked_entries_have_an_optimality_of_one_half():
    values, valid, groups = batch(0)
    r = optimality_probability(advantages(values, valid, groups), 5.0)
    assert (r[~valid] == 0.5).all()
