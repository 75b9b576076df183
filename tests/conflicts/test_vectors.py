from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marblecli.conflicts.vectors import (
    cosines_with,
    direction_cosines,
    direction_length,
    half_cosines,
    pairwise_cosines,
    ratios,
    signal_norms,
)
from support.records import record_of


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 6), seed=st.integers(0, 2**32 - 1))
def test_cosines_from_the_gram_are_those_of_the_vectors(count, seed):
    rng = np.random.default_rng(seed)
    gradients, coefficients = rng.normal(size=(count, 9)), rng.random(count)
    direction = coefficients @ gradients
    norms = np.linalg.norm(gradients, axis=1)
    expected = gradients @ direction / (norms * np.linalg.norm(direction))
    found = direction_cosines(gradients @ gradients.T, coefficients)
    assert found == pytest.approx(expected, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 6), seed=st.integers(0, 2**32 - 1))
def test_cosines_of_other_vectors_are_those_of_the_vectors(count, seed):
    rng = np.random.default_rng(seed)
    gradients, others = rng.normal(size=(2, count, 9))
    coefficients = rng.normal(size=count)
    direction = coefficients @ gradients
    norms = np.linalg.norm(others, axis=1)
    expected = others @ direction / (norms * np.linalg.norm(direction))
    length = direction_length(gradients @ gradients.T, coefficients)
    found = cosines_with(others @ gradients.T, norms, coefficients, length)
    assert found == pytest.approx(expected, abs=1e-9)


def test_direction_cosines_worked_by_hand():
    """g = (1, 0) and (-3, 3); d = g_1 + g_2 = (-2, 3)."""
    found = direction_cosines(np.array([[1.0, -3.0], [-3.0, 18.0]]), np.array([1.0, 1.0]))
    assert found == pytest.approx([-2 / np.sqrt(13), 15 / np.sqrt(18 * 13)])


def test_a_zero_gradient_has_no_cosine():
    found = direction_cosines(np.diag([4.0, 0.0]), np.array([1.0, 0.0]))
    assert found[0] == pytest.approx(1.0)
    assert np.isnan(found[1])


@pytest.mark.parametrize("rounding", [0.0, 1e-16, -1e-16, 1e-12])
def test_a_direction_that_cancels_out_has_no_cosines(rounding):
    gram = np.array([[1.0 + rounding, -1.0], [-1.0, 1.0]])
    assert np.isnan(direction_cosines(gram, np.array([0.5, 0.5]))).all()


def test_pairwise_cosines_worked_by_hand():
    found = pairwise_cosines(np.array([[4.0, -3.0, 0.0], [-3.0, 9.0, 0.0], [0.0, 0.0, 0.0]]))
    assert found[:2, :2] == pytest.approx(np.array([[1.0, -0.5], [-0.5, 1.0]]))
    assert np.isnan(found[2]).all()
    assert np.isnan(found[:, 2]).all()


def test_a_vector_without_length_has_no_cosine():
    found = ratios(np.array([1.0, 2.0, 0.0]), np.array([2.0, 0.0, 0.0]))
    assert found == pytest.approx([0.5, np.nan, np.nan], nan_ok=True)


def test_half_cosines_worked_by_hand():
    """Halves a = (1, 0), (0, 2) and b = (3, 4), (1, 0): cosines .6, 1, .8 and 0."""
    parts = record_of([[1, 0], [0, 2]], [[3, 4], [1, 0]]).part_grams
    assert half_cosines(parts) == pytest.approx(np.array([[0.6, 0.9], [0.9, 0.0]]))


def test_half_cosines_do_not_depend_on_the_lengths_of_gradients():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 3, 5))
    short, long = record_of(first, second), record_of(1e6 * first, 1e3 * second)
    assert half_cosines(long.part_grams) == pytest.approx(half_cosines(short.part_grams))


def test_the_norm_of_a_signal_is_never_the_root_of_a_negative_square():
    parts = record_of([[1, 0], [3, 0]], [[-1, 0], [0, 4]]).part_grams
    assert signal_norms(parts) == pytest.approx([0.0, 5.0])
    parts.first[0, 0] = 1.0 - 1e-12
    assert signal_norms(parts)[0] == 0.0
