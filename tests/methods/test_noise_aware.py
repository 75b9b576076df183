"""Batches of signal and noise whose true signals are known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from marblecli.maths.qp.exact import solve_min_norm
from marblecli.methods.method import Method, State, Statistics
from marblecli.methods.noise_aware import NoiseAwareOptions, build, solve_gains, unit_signal
from marblecli.types import Balance, FloatArray, PartGrams

SIZE = 200


def batch_of(first: FloatArray, second: FloatArray, step: int = 1) -> Statistics:
    """Statistics of a batch whose halves have these gradients [K, d], and no pull."""
    whole = first + second
    norms = np.linalg.norm(whole, axis=1)
    gram = (whole / norms[:, None]) @ (whole / norms[:, None]).T
    np.fill_diagonal(gram, 1.0)
    nothing = np.zeros_like(gram)
    names = tuple("abcdefgh"[: len(whole)])
    return Statistics(
        names=names,
        rewards=names,
        unit_gram=gram,
        norms=norms,
        loss_weights=np.ones(len(whole)),
        step=step,
        parts=PartGrams(
            first=first @ first.T,
            second=second @ second.T,
            cross=first @ second.T,
            pull=nothing,
            signal_pull=nothing,
        ),
    )


def noisy(true: FloatArray, noise: FloatArray, steps: int, seed: int = 0) -> list[Statistics]:
    """Batches of true gradients [K, d] and noise of that length [K] in one batch."""
    rng = np.random.default_rng(seed)
    deviation = noise[:, None] / np.sqrt(2.0 * true.shape[1])

    def half() -> FloatArray:
        drawn: FloatArray = true / 2.0 + deviation * rng.normal(size=true.shape)
        return drawn

    return [batch_of(half(), half(), step + 1) for step in range(steps)]


def method(**options: float) -> Method:
    return build(NoiseAwareOptions(**options))


def run(batches: list[Statistics], **options: float) -> list[Balance]:
    """What is chosen on each batch, one after the other."""
    chosen, state, combine = [], None, method(**options)
    for batch in batches:
        balance, state = combine(batch, state)
        chosen.append(balance)
    return chosen


def gains(true: FloatArray, noise: FloatArray, coefficients: FloatArray) -> FloatArray:
    """[K], the true gain of each reward per unit of step length."""
    signal = true @ true.T
    length = np.sqrt(coefficients @ (signal + np.diag(noise**2)) @ coefficients)
    found: FloatArray = signal @ coefficients / np.sqrt(signal.diagonal()) / length
    return found


def conflicting(count: int, seed: int = 0) -> FloatArray:
    """[count, SIZE], unit vectors of which the first two have a cosine of -0.6."""
    rng = np.random.default_rng(seed)
    true = np.linalg.qr(rng.normal(size=(SIZE, count)))[0].T
    true[1] = -0.6 * true[0] + 0.8 * true[1]
    found: FloatArray = true
    return found


def test_products_between_halves_are_an_unbiased_estimate_of_the_signal() -> None:
    true, noise = 2.0 * conflicting(3), np.array([3.0, 0.5, 1.0])
    batches = noisy(true, noise, 400)
    estimates = [unit_signal(b.parts, np.ones(3)) for b in batches if b.parts is not None]
    assert np.mean(estimates, 0) == pytest.approx(true @ true.T, abs=0.15)


@pytest.mark.parametrize("seed", range(5))
def test_without_noise_it_is_marble(seed: int) -> None:
    """Both halves have the same gradients, so the signal is the whole gradient."""
    vectors = np.random.default_rng(seed).normal(size=(4, 9)) + 0.5
    batch = batch_of(vectors, vectors)
    ((balance), _) = method(signal_memory=0.0)(batch, None)
    expected = solve_min_norm(batch.unit_gram).weights
    assert balance.simplex_weights == pytest.approx(expected, abs=1e-5)
    lengths = balance.coefficients * batch.norms
    assert lengths.sum() == pytest.approx(batch.norms.mean())


def test_orthogonal_signals_worked_by_hand() -> None:
    """Reliabilities 1 and 1/4: the gains S_kk u_k / |s_k| are equal where u is 1 and 2."""
    found = solve_gains(np.eye(2), np.diag([1.0, 0.25]), 0.05)
    assert found is not None
    assert found.weights == pytest.approx([1.0, 2.0], abs=1e-6)


def test_a_signal_that_is_not_believed_asks_for_less_and_none_for_nothing() -> None:
    """At a tenth of the least reliability r, u is a tenth of the 1 / sqrt(r) that it is at r."""
    for share, expected in ((1.0, 2.0), (0.1, 0.2), (0.0, 0.0), (-0.5, 0.0)):
        found = solve_gains(np.eye(2), np.diag([1.0, 0.25 * share]), 0.25)
        assert found is not None
        assert found.weights == pytest.approx([1.0, expected], abs=1e-6)


def test_the_worst_gain_is_larger_than_marbles() -> None:
    """Two rewards in conflict, one of them noisy, and a third: true gains per unit of length."""
    true, noise = conflicting(3), np.array([3.0, 0.3, 1.0])
    batches = noisy(true, noise, 120)
    chosen = [each.coefficients for each in run(batches)[60:]]
    marble = [solve_min_norm(each.unit_gram).weights / each.norms for each in batches[60:]]
    worst, plain = (
        np.mean([gains(true, noise, c) for c in cs], 0).min() for cs in (chosen, marble)
    )
    assert worst > plain + 0.03


def test_pure_noise_does_not_lead() -> None:
    """A third reward of noise alone, as long as the others: it gets the least, and they gain."""
    true, noise = conflicting(3), np.array([1.0, 1.0, np.sqrt(2.0)])
    true[2] = 0.0
    batches = noisy(true, noise, 120)
    chosen = run(batches)[40:]
    weights = np.mean([each.simplex_weights for each in chosen], 0)
    assert weights[2] < 0.5 * weights[:2].min()
    marble = np.mean([solve_min_norm(each.unit_gram).weights for each in batches[40:]], 0)
    assert weights[2] < marble[2]


def test_the_scale_of_a_reward_changes_nothing() -> None:
    true, noise = conflicting(3), np.array([2.0, 0.5, 1.0])
    plain = run(noisy(true, noise, 40))[-1]
    for scale in (10.0, 1000.0):
        scales = np.array([1.0, scale, 1.0])
        scaled = run(noisy(true * scales[:, None], noise * scales, 40))[-1]
        assert scaled.simplex_weights == pytest.approx(plain.simplex_weights, abs=1e-6)


def test_the_order_of_the_rewards_changes_nothing() -> None:
    true, noise = conflicting(4), np.array([2.0, 0.5, 1.0, 1.5])
    batches = noisy(true, noise, 40)
    order = np.array([2, 0, 3, 1])
    pairs = np.ix_(order, order)
    turned = [
        replace(
            batch,
            unit_gram=batch.unit_gram[pairs],
            norms=batch.norms[order],
            parts=batch.parts
            and PartGrams(**{name: gram[pairs] for name, gram in vars(batch.parts).items()}),
        )
        for batch in batches
    ]
    expected = run(batches)[-1].simplex_weights[order]
    assert run(turned)[-1].simplex_weights == pytest.approx(expected, abs=1e-6)


def test_duplicates_share_what_one_would_have() -> None:
    rng = np.random.default_rng(1)
    halves = rng.normal(size=(2, 3, 12)) + 0.5
    once = run([batch_of(*halves)], signal_memory=0.0)[0].simplex_weights
    doubled = halves[:, [0, 1, 2, 2]]
    twice = run([batch_of(*doubled)], signal_memory=0.0)[0].simplex_weights
    assert twice[:2] == pytest.approx(once[:2], abs=1e-5)
    assert twice[2:] == pytest.approx([once[2] / 2] * 2, abs=1e-5)


def test_while_the_memory_fills_and_without_halves_it_is_marble_with_memory() -> None:
    true, noise = conflicting(3), np.ones(3)
    batches = noisy(true, noise, 20)
    alone = [replace(batch, parts=None) for batch in batches]
    with_halves, without = run(batches), run(alone)
    same = [
        np.allclose(one.simplex_weights, other.simplex_weights)
        for one, other in zip(with_halves, without, strict=True)
    ]
    assert same[:13] == [True] * 13
    assert not any(same[13:])
    expected = solve_min_norm(batches[0].unit_gram).weights
    assert without[0].simplex_weights == pytest.approx(expected)


def test_a_conflict_without_a_way_out_is_marbles() -> None:
    opposite = np.array([[1.0, 0.0], [-1.0, 0.0]])
    ((balance), _) = method(signal_memory=0.0)(batch_of(opposite, opposite), None)
    assert balance.simplex_weights == pytest.approx([0.5, 0.5])


def test_a_reward_that_is_missing_from_a_batch_is_remembered() -> None:
    """And the state goes through JSON."""
    true, noise = conflicting(3), np.ones(3)
    batches = noisy(true, noise, 30)
    combine = method()
    state: State = None
    for batch in batches:
        _, state = combine(batch, state)
    two = replace(
        batches[0],
        names=batches[0].names[:2],
        unit_gram=batches[0].unit_gram[:2, :2],
        norms=batches[0].norms[:2],
        parts=batches[0].parts
        and PartGrams(**{n: gram[:2, :2] for n, gram in vars(batches[0].parts).items()}),
    )
    fewer, state = combine(two, json.loads(json.dumps(state)))
    assert len(fewer.coefficients) == 2
    again, _ = combine(batches[1], state)
    assert (again.simplex_weights > 0.0).all()


def test_other_rewards_start_the_memory_anew() -> None:
    one, other = noisy(conflicting(3), np.ones(3), 2)
    _, state = method()(one, None)
    renamed = replace(other, names=("x", "y", "z"), rewards=("x", "y", "z"))
    fresh, _ = method()(renamed, None)
    after, _ = method()(renamed, state)
    assert after.coefficients.tolist() == fresh.coefficients.tolist()
