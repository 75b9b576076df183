"""Signals that are known, or estimated from batches of signal and noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from marblecli.maths.qp.exact import solve_min_norm
from marblecli.maths.remembered_signal import SignalSums
from marblecli.methods.method import Statistics
from marblecli.methods.noise_aware import NoiseAwareOptions, build, signal_cosines
from marblecli.types import Balance, FloatArray, SignalEstimate


def batch_of(gram: FloatArray, signal: FloatArray | None) -> Statistics:
    """Of gradients with this Gram [K, K], whose mean lengths are those of this batch."""
    norms = np.sqrt(gram.diagonal())
    unit = gram / norms / norms[:, None]
    np.fill_diagonal(unit, 1.0)
    names = tuple("abcdefgh"[: len(gram)])
    return Statistics(
        names=names,
        rewards=names,
        unit_gram=unit,
        norms=norms,
        loss_weights=np.ones(len(gram)),
        step=1,
        signal=None if signal is None else SignalEstimate(signal, norms),
    )


def chosen(batch: Statistics, **options: float) -> Balance:
    """And nothing is left to the next batch: the memory is the run's, not the method's."""
    balance, state = build(NoiseAwareOptions(**options))(batch, None)
    assert state is None
    return balance


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("known", [True, False])
def test_on_the_batchs_own_gram_and_without_a_signal_it_is_marble(seed: int, known: bool) -> None:
    vectors = np.random.default_rng(seed).normal(size=(4, 9)) + 0.5
    batch = batch_of(vectors @ vectors.T, vectors @ vectors.T if known else None)
    balance, expected = chosen(batch), solve_min_norm(batch.unit_gram).weights
    assert balance.simplex_weights == pytest.approx(expected)
    assert balance.coefficients == pytest.approx(batch.norms.mean() * expected / batch.norms)


def test_orthogonal_signals_worked_by_hand() -> None:
    """Lengths 2 and 4, signals 2 and 1: c = mean(2, 4) mean(1, 1/4) (1/2) / s."""
    balance = chosen(batch_of(np.diag([4.0, 16.0]), np.diag([4.0, 1.0])))
    assert balance.coefficients == pytest.approx([3 * 0.625 / 4, 3 * 0.625 / 2])
    assert balance.simplex_weights == pytest.approx([1 / 5, 4 / 5])


@pytest.mark.parametrize("square", [0.25, 0.01, 0.0, -3.0])
def test_a_signal_below_the_floor_counts_as_the_floor(square: float) -> None:
    """A quarter of the square length 1, so half of the length."""
    batch = batch_of(np.eye(2), np.diag([1.0, square]))
    balance = chosen(batch, min_reliability=0.25)
    assert balance.coefficients == pytest.approx([0.75 / 2, 0.75])


def test_a_conflict_of_signals_shortens_the_step_and_one_of_noise_does_not() -> None:
    conflict = np.array([[1.0, -0.8], [-0.8, 1.0]])
    lengths = [
        float(np.sqrt(c @ signal @ c))
        for signal in (np.eye(2), conflict)
        for c in [chosen(batch_of(conflict, signal)).coefficients]
    ]
    assert lengths == pytest.approx([np.sqrt(1 / 2), np.sqrt(0.2 / 2)])


@pytest.mark.parametrize("seed", range(5))
def test_cosines_of_an_estimate_are_a_gram_of_unit_vectors(seed: int) -> None:
    rng = np.random.default_rng(seed)
    estimate = rng.normal(size=(5, 5)) * 3.0
    found = signal_cosines(estimate + estimate.T, np.ones(5))
    assert found.diagonal() == pytest.approx(np.ones(5))
    assert found == pytest.approx(found.T)
    assert np.linalg.eigvalsh(found)[0] >= -1e-12
    vectors = rng.normal(size=(3, 4))
    gram, lengths = vectors @ vectors.T, np.linalg.norm(vectors, axis=1)
    assert signal_cosines(gram, lengths) == pytest.approx(gram / lengths / lengths[:, None])


def test_the_scale_of_a_reward_changes_no_weight() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3, 6))
    gram, signal = vectors @ vectors.T, vectors[:, :5] @ vectors[:, :5].T
    scales = np.outer([1.0, 100.0, 1.0], [1.0, 100.0, 1.0])
    plain, scaled = chosen(batch_of(gram, signal)), chosen(batch_of(gram * scales, signal * scales))
    assert scaled.simplex_weights == pytest.approx(plain.simplex_weights)


def test_the_order_of_the_rewards_changes_nothing() -> None:
    vectors = np.random.default_rng(1).normal(size=(4, 7))
    gram, order = vectors @ vectors.T, np.array([2, 0, 3, 1])
    pairs = np.ix_(order, order)
    expected = chosen(batch_of(gram + np.eye(4), gram)).coefficients[order]
    turned = chosen(batch_of((gram + np.eye(4))[pairs], gram[pairs])).coefficients
    assert turned == pytest.approx(expected)


def test_remembered_batches_raise_the_worst_gain_that_noise_lowers() -> None:
    """Three unit signals, two of them at -0.6, under noise of lengths 3, 0.3 and 1."""
    rng = np.random.default_rng(0)
    true = np.linalg.qr(rng.normal(size=(200, 3)))[0].T
    true[1] = -0.6 * true[0] + 0.8 * true[1]
    noise, everyone = np.array([3.0, 0.3, 1.0]), np.ones(3, dtype=bool)
    sums, moved, worst = SignalSums.empty(3), np.zeros_like(true), []
    for _ in range(80):
        batch = true + noise[:, None] * rng.normal(size=true.shape) / np.sqrt(200)
        moved = 0.9 * moved + 0.1 * batch
        sums = sums.after(batch @ batch.T, np.linalg.norm(batch, axis=1), everyone, 0.9)
        known = batch_of(batch @ batch.T, None)
        aware = replace(known, signal=sums.estimate(moved @ moved.T, everyone))
        worst.append([_gains(true, noise, chosen(each).coefficients) for each in (aware, known)])
    aware_gains, marbles = np.mean(worst[20:], 0)
    assert aware_gains.min() > marbles.min() + 0.03


def _gains(true: FloatArray, noise: FloatArray, coefficients: FloatArray) -> FloatArray:
    """[K], the true gain of each reward per unit of step length."""
    signal = true @ true.T
    length = np.sqrt(coefficients @ (signal + np.diag(noise**2)) @ coefficients)
    found: FloatArray = signal @ coefficients / length
    return found
