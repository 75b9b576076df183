from __future__ import annotations

import numpy as np
import pytest
import torch

from marblecli.maths.gram import (
    cross_products,
    gradient_stats,
    gram_matrix,
    inner_products,
    part_grams,
)


def blocks(rewards: int = 3, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    shapes = ((4, 5), (7,), (2, 3, 2))
    return [torch.randn(rewards, *shape, generator=g, dtype=dtype) for shape in shapes]


def test_gram_is_that_of_the_concatenated_gradients() -> None:
    parts = blocks()
    whole = torch.cat([part.flatten(1) for part in parts], dim=1).numpy()
    np.testing.assert_allclose(gram_matrix(parts), whole @ whole.T, rtol=1e-13)


def test_inner_products_with_a_direction() -> None:
    parts = blocks()
    direction = [2.0 * part[1] - part[0] for part in parts]
    gram = gram_matrix(parts)
    np.testing.assert_allclose(
        inner_products(parts, direction), 2.0 * gram[1] - gram[0], rtol=1e-12, atol=1e-12
    )


def test_float32_is_accumulated_in_float64() -> None:
    """With one large and many small elements, a float32 sum would lose all small ones, or 5e-5.

    How a float64 sum of a chunk is ordered is the processor's choice. It may err by a rounding for
    each of its 2^18 elements, 2.9e-11 together.
    """
    vector = torch.full((1, 2**19), 1e-2)
    vector[0, 0] = 1e3
    exact = 1e6 + (2**19 - 1) * float(torch.tensor(1e-2).double() ** 2)
    assert gram_matrix([vector])[0, 0] == pytest.approx(exact, rel=3e-11)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_a_gradient_that_is_not_finite_is_masked(poison: float) -> None:
    parts = blocks()
    parts[1][2, 3] = poison
    stats = gradient_stats(("a", "b", "c"), gram_matrix(parts), [4, 4, 4])
    assert stats.usable.tolist() == [True, True, False]
    assert np.isfinite(stats.gram).all()
    np.testing.assert_allclose(stats.gram[:2, :2], gram_matrix([p[:2] for p in parts]))
    assert stats.gram[2].tolist() == [0.0, 0.0, 0.0]


def test_zero_gradients_and_rewards_without_images_are_masked() -> None:
    parts = blocks()
    for part in parts:
        part[0] = 0.0
    assert gradient_stats(("a", "b", "c"), gram_matrix(parts), [4, 4, 0]).usable.tolist() == [
        False,
        True,
        False,
    ]


def test_norms_are_the_roots_of_the_diagonal() -> None:
    stats = gradient_stats(("a", "b", "c"), gram_matrix(blocks()), [1, 1, 1])
    np.testing.assert_allclose(stats.norms**2, np.diag(stats.gram))


def test_a_policy_without_parameters_is_an_error() -> None:
    with pytest.raises(ValueError, match="no trained parameters"):
        gram_matrix([])


def test_parts_add_up_to_the_whole() -> None:
    parts = blocks(rewards=6)
    usable = np.array([True, True])
    grams = part_grams(gram_matrix(parts), usable)
    signal = [part[:2] + part[2:4] for part in parts]
    pull = [part[4:] for part in parts]
    np.testing.assert_allclose(grams.signal, gram_matrix(signal), rtol=1e-12)
    np.testing.assert_allclose(grams.signal_pull, cross_products(signal, pull), rtol=1e-12)
    np.testing.assert_allclose(grams.pull, gram_matrix(pull), rtol=1e-12)
    np.testing.assert_allclose(
        grams.cross, cross_products([p[:2] for p in parts], [p[2:4] for p in parts]), rtol=1e-12
    )


def test_the_parts_of_a_masked_reward_are_zero() -> None:
    parts = blocks(rewards=6)
    parts[0][1] = float("nan")
    grams = part_grams(gram_matrix(parts), np.array([True, False]))
    assert grams.first[1].tolist() == [0.0, 0.0]
    assert np.isfinite(grams.signal).all()
