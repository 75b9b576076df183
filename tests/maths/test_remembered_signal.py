from __future__ import annotations

import json

import numpy as np
import pytest

from marblecli.maths.remembered_signal import SignalSums
from marblecli.types import FloatArray, SignalEstimate

ALL = np.array([True, True])


def remembered(
    batches: list[FloatArray], present: list[list[bool]], decay: float
) -> SignalEstimate | None:
    """The estimate after gradients [K, d] of which those ``present`` are usable."""
    count = len(batches[0])
    sums, moved = SignalSums.empty(count), np.zeros_like(batches[0])
    usable = np.ones(count, dtype=bool)
    for gradients, there in zip(batches, present, strict=True):
        usable = np.array(there)
        norms = np.linalg.norm(gradients, axis=1)
        sums = sums.after(gradients @ gradients.T, norms, usable, decay)
        moved = decay * moved + (1.0 - decay) * np.where(usable[:, None], gradients, 0.0)
    return sums.estimate(moved @ moved.T, usable)


def pair_by_pair(batches: list[FloatArray], present: list[list[bool]], decay: float) -> FloatArray:
    """The same by its definition: the weighted mean of products of different batches."""
    count, last = len(batches[0]), len(batches) - 1
    total, weights = np.zeros((2, count, count))
    for t, one in enumerate(batches):
        for s, other in enumerate(batches):
            if t != s:
                both = np.outer(present[t], present[s]) * decay ** (2 * last - t - s)
                total, weights = total + both * (one @ other.T), weights + both
    found: FloatArray = total / weights
    return found


def test_two_batches_give_the_product_between_them() -> None:
    one, other = np.array([[1.0, 2.0], [0.0, 3.0]]), np.array([[2.0, -1.0], [1.0, 1.0]])
    for decay in (0.1, 0.5, 0.9):
        found = remembered([one, other], [[True, True]] * 2, decay)
        assert found is not None
        assert found.gram == pytest.approx((one @ other.T + other @ one.T) / 2)
    assert found is not None
    lengths = [np.linalg.norm(each, axis=1) for each in (one, other)]
    assert found.norms == pytest.approx((0.9 * lengths[0] + lengths[1]) / 1.9)


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_weighted_mean_over_pairs_of_different_batches(seed: int) -> None:
    """Also where rewards are missing from batches, whose rows count as if they weren't there."""
    rng = np.random.default_rng(seed)
    batches = list(rng.normal(size=(8, 3, 5)))
    present = rng.uniform(size=(8, 3)) < 0.6
    present[[0, 3, 7]] = True
    found = remembered(batches, present.tolist(), 0.8)
    assert found is not None
    expected = pair_by_pair(batches, present.tolist(), 0.8)
    assert found.gram == pytest.approx((expected + expected.T) / 2)


def test_noise_does_not_bias_it() -> None:
    rng = np.random.default_rng(0)
    true, every = np.array([[1.0, 0.0, 0.0], [-0.5, 0.5, 0.0]]), [[True, True]] * 10
    found = [remembered(list(true + rng.normal(size=(10, 2, 3))), every, 0.9) for _ in range(4000)]
    grams = [each.gram for each in found if each is not None]
    assert np.mean(grams, 0) == pytest.approx(true @ true.T, abs=0.05)


def test_one_batch_of_a_reward_says_nothing() -> None:
    one, other = np.eye(2), np.eye(2)
    assert remembered([one], [[True, True]], 0.9) is None
    assert remembered([one, other], [[True, False], [True, True]], 0.9) is None
    alone = remembered([one, other], [[True, False], [True, False]], 0.9)
    assert alone is not None
    assert alone.gram.tolist() == [[pytest.approx(1.0), 0.0], [0.0, 0.0]]
    assert alone.norms.tolist() == [pytest.approx(1.0), 0.0]


def test_what_has_nearly_faded_counts_as_nothing() -> None:
    batches, first = [np.eye(2)] * 30, [[True, True]]
    present = first + [[True, False]] * 28 + [[True, True]]
    assert remembered(batches, present, 0.5) is None


def test_the_numbers_go_through_json_to_the_bit() -> None:
    rng = np.random.default_rng(1)
    sums = SignalSums.empty(2).after(rng.normal(size=(2, 2)), rng.uniform(size=2), ALL, 0.9)
    again = SignalSums.from_json(json.loads(json.dumps(sums.to_json())))
    assert again.to_json() == sums.to_json()
