from __future__ import annotations

import numpy as np
import pytest

from marblecli.maths.signal import (
    batch_products,
    halves_signal_to_noise,
    jackknife,
    mean_ratio,
    squared_signal_to_noise,
)
from marblecli.types import FloatArray, PartGrams


def drawn(batches: int, size: int, noise: float) -> FloatArray:
    """[B, 2, P], of two rewards: signals of length 1 and 2 in noise of the same length each."""
    rng = np.random.default_rng(0)
    signal = np.zeros((2, size))
    signal[:, 0] = 1.0, 2.0
    return signal + noise / np.sqrt(size) * rng.standard_normal((batches, 2, size))


def products_of(batches: int, size: int, noise: float) -> FloatArray:
    return batch_products(drawn(batches, size, noise))


def halves_of(batches: int, noise: float) -> list[PartGrams]:
    """Each half has half of the signal, and half of the noise's square."""
    halves = drawn(2 * batches, 4000, noise * np.sqrt(2.0)) / 2.0
    nothing = np.zeros((2, 2))
    return [
        PartGrams(a @ a.T, b @ b.T, a @ b.T, nothing, nothing)
        for a, b in zip(halves[::2], halves[1::2], strict=True)
    ]


def test_two_batches_worked_by_hand() -> None:
    """(3, 1) and (3, -1): the signal's square is 8, and a batch's own is 10."""
    vectors = np.array([[[3.0, 1.0]], [[3.0, -1.0]]])
    assert squared_signal_to_noise(batch_products(vectors)) == pytest.approx([8.0 / 2.0])


def test_the_ratio_is_that_of_the_signal_and_the_noise() -> None:
    found = squared_signal_to_noise(products_of(60, 4000, noise=2.0))
    assert found == pytest.approx([0.25, 1.0], rel=0.1)


def test_halves_find_the_same_ratio_of_the_whole_batch() -> None:
    found = halves_signal_to_noise(halves_of(200, noise=2.0))
    assert found == pytest.approx([0.25, 1.0], rel=0.1)


def test_batches_that_are_all_noise_have_a_ratio_around_zero() -> None:
    assert abs(squared_signal_to_noise(products_of(60, 4000, noise=200.0))).max() < 0.01
    assert abs(halves_signal_to_noise(halves_of(200, noise=200.0))).max() < 0.01


def test_batches_without_a_gradient_are_left_out() -> None:
    vectors = drawn(12, 400, noise=2.0)
    vectors[8:, 1] = 0.0
    whole, part = (squared_signal_to_noise(batch_products(each)) for each in (vectors, vectors[:8]))
    assert whole[1] == pytest.approx(part[1])
    vectors[1:, 1] = 0.0
    ratios = squared_signal_to_noise(batch_products(vectors))
    assert np.isnan(ratios[1])
    assert mean_ratio(ratios) == ratios[0]
    nothing = np.zeros((2, 2))
    halves = [PartGrams(*[nothing] * 5)]
    assert np.isnan(mean_ratio(halves_signal_to_noise(halves)))


def test_half_the_passes_are_worth_twice_as_much() -> None:
    products = products_of(10, 400, noise=2.0)
    one, error = jackknife(products, 10.0)
    twice, twice_error = jackknife(products, 5.0)
    assert twice == pytest.approx(2 * one)
    assert twice_error == pytest.approx(2 * error)
    assert 0 < error < one


def test_the_error_is_how_far_other_batches_lead() -> None:
    """Over 40 sets of 16 batches, the estimates vary as the errors say."""
    vectors = drawn(40 * 16, 300, noise=1.5).reshape(40, 16, 2, 300)
    found = np.array([jackknife(batch_products(each), 1.0) for each in vectors])
    assert np.mean(found[:, 1]) == pytest.approx(np.std(found[:, 0]), rel=0.4)
