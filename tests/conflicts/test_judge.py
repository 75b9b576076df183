from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marblecli.conflicts.judge import Direction, judge
from marblecli.conflicts.record import FreshRecord
from marblecli.conflicts.views import VIEWS, slice_view
from marblecli.errors import BadInputError
from marblecli.settings import BalanceSettings
from support.records import noisy_records, record_of

MARBLE, EQUAL = BalanceSettings(), BalanceSettings(method="equal")


def cosine(one, other):
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def unit_sum(gradients):
    """What ``equal`` steps, up to its length."""
    return sum(gradient / np.linalg.norm(gradient) for gradient in gradients)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_view_gives_the_cosines_of_the_vectors(seed):
    rng = np.random.default_rng(seed)
    first, second, pull, f1, f2, fp, part = rng.normal(size=(7, 2, 5))
    record = record_of(first, second, pull, fresh=(f1, f2, fp), slices={"source x": part})
    whole = first + second + pull
    direction, one, other = unit_sum(whole), unit_sum(first), unit_sum(second)
    views = {**VIEWS, "slice": slice_view("source x")}
    found = judge([record], Direction("equal", EQUAL), views)
    expected = {
        "batch": [cosine(v, direction) for v in whole],
        "signal": [cosine(v, direction) for v in first + second],
        "held-out": [
            (cosine(b, one) + cosine(a, other)) / 2.0 for a, b in zip(first, second, strict=True)
        ],
        "fresh": [cosine(v, direction) for v in f1 + f2 + fp],
        "fresh-signal": [cosine(v, direction) for v in f1 + f2],
        "slice": [cosine(v, direction) for v in part],
    }
    for view, cosines in expected.items():
        means = [reward.cosine.value for reward in found[view].per_reward.values()]
        assert means == pytest.approx(cosines, abs=1e-9), view


def test_held_out_halves_worked_by_hand():
    """Both halves agree on a; on b the second half says the opposite of the first.

    Equal on the first half: (1, 1); on the second: (1, -1). Cosines with the other half's a: both
    1/sqrt(2); with its b: both -1/sqrt(2). On its own batch b is zero, and there is no conflict.
    """
    record = record_of([[1, 0], [0, 1]], [[1, 0], [0, -1]])
    found = judge([record], Direction("equal", EQUAL))
    held_out = found["held-out"].per_reward
    assert held_out["a"].cosine.value == pytest.approx(np.sqrt(0.5))
    assert held_out["b"].cosine.value == pytest.approx(-np.sqrt(0.5))
    assert found["held-out"].conflict_share.value == 1.0
    assert found["batch"].conflict_share.value == 0.0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_marble_has_no_conflict_on_the_batch_that_it_was_solved_on(seed):
    rng = np.random.default_rng(seed)
    records = [
        record_of(rng.normal(size=(4, 6)) * 30.0 ** rng.random((4, 1)), np.zeros((4, 6)), names=s)
        for s in ["abcd"] * 5
    ]
    marble = judge(records, Direction("marble", MARBLE))["batch"]
    assert marble.conflict_share.value == 0.0
    for other in ("equal", "weighted-sum"):
        settings_of = BalanceSettings(method=other)
        found = judge(records, Direction(other, settings_of))["batch"]
        assert found.worst_cosine.value <= marble.worst_cosine.value + 1e-9


def test_on_pure_noise_marble_helps_no_reward_on_data_that_it_has_not_seen():
    rng = np.random.default_rng(0)
    records = [record_of(*rng.normal(size=(2, 4, 300)), names="abcd") for _ in range(40)]
    found = judge(records, Direction("marble", MARBLE))
    assert found["batch"].conflict_share.value == 0.0
    assert found["held-out"].conflict_share.value > 0.8
    for reward in found["held-out"].per_reward.values():
        assert abs(reward.cosine.value) < 0.03


def test_what_lasts_is_found_on_held_out_halves():
    found = judge(noisy_records(0.3, strength=0.5, batches=30), Direction("marble", MARBLE))
    assert all(each.cosine.sign == 1 for each in found["held-out"].per_reward.values())


def test_recorded_cosines_win_over_replayed_ones():
    record = record_of(
        np.eye(2), np.eye(2), cosines={"equal": (0.1, 0.2)}, signal_cosines={"equal": (0.3, None)}
    )
    found = judge([record], Direction("equal", EQUAL))
    values = [reward.cosine.value for reward in found["batch"].per_reward.values()]
    assert values == [0.1, 0.2]
    assert found["signal"].per_reward["a"].cosine.value == 0.3
    assert found["held-out"].per_reward["a"].cosine.value == pytest.approx(np.sqrt(0.5))


def test_a_direction_without_a_balance_has_only_what_was_recorded():
    records = [
        record_of(np.eye(2), np.eye(2), cosines={"update": (0.1, -0.2)}),
        record_of(np.eye(2), np.eye(2)),
    ]
    found = judge(records, Direction("update"))
    assert found["batch"].batches == 1
    assert found["batch"].conflict_share.value == 1.0
    assert all(found[view].batches == 0 for view in VIEWS if view != "batch")


def test_fresh_cosines_are_recorded_too():
    record = record_of(np.eye(2), np.eye(2), fresh=(np.eye(2), np.eye(2), np.zeros((2, 2))))
    assert isinstance(record.fresh, FreshRecord)
    fresh = dataclasses.replace(
        record.fresh, cosines={"applied": (0.5, -0.1)}, signal_cosines={"applied": (0.4, -0.2)}
    )
    found = judge([dataclasses.replace(record, fresh=fresh)], Direction("applied"))
    assert found["fresh"].per_reward["b"].cosine.value == -0.1
    assert found["fresh-signal"].per_reward["b"].cosine.value == -0.2


def test_old_records_are_judged_on_their_own_batch_alone():
    record = dataclasses.replace(record_of(np.eye(2), np.eye(2)), parts=None)
    found = judge([record], Direction("marble", MARBLE))
    assert [view for view, summary in found.items() if summary.batches] == ["batch"]


def test_rewards_are_matched_by_name_across_batches():
    records = [
        record_of(np.eye(2), np.eye(2), names="ab", cosines={"applied": (0.5, 0.1)}),
        record_of(np.eye(2), np.eye(2), names="bc", cosines={"applied": (0.3, -0.1)}),
    ]
    per_reward = judge(records, Direction("applied"))["batch"].per_reward
    means = {name: reward.cosine.value for name, reward in per_reward.items()}
    assert means == pytest.approx({"a": 0.5, "b": 0.2, "c": -0.1})


def test_a_batch_without_any_gradient_is_skipped():
    zero = np.zeros((2, 2))
    summary = judge(
        [record_of(zero, zero), record_of(np.eye(2), zero)], Direction("marble", MARBLE)
    )["batch"]
    assert summary.batches == 1
    assert summary.worst_cosine.value == pytest.approx(np.sqrt(0.5))


def test_the_weighted_sum_takes_the_losses_weights():
    """Gradients (1, 0) and (-3, 3): their sum conflicts with the first.

    Nine times the first and the second don't.
    """
    records = [record_of([[1, 0], [-3, 3]], np.zeros((2, 2)))]
    weighted = BalanceSettings(method="weighted-sum")
    even = judge(records, Direction("mine", weighted))["batch"]
    uneven = judge(records, Direction("mine", weighted, {"a": 9.0}))["batch"]
    assert even.per_reward["a"].conflict_share.value == 1.0
    assert uneven.per_reward["a"].conflict_share.value == 0.0


def test_a_balance_of_the_signal_is_solved_on_the_signal():
    """The pull makes both whole gradients alike; their signals are at right angles."""
    record = record_of([[1, 1], [-1, 1]], np.zeros((2, 2)), pull=[[0, 9], [4, 9]])
    single = BalanceSettings(gram="signal")
    found = judge([record], Direction("marble,gram=signal", single))["batch"]
    whole = np.array([[1.0, 10.0], [3.0, 10.0]])
    # Orthogonal signals of equal norms get equal weights: d = g_a + g_b.
    expected = [cosine(v, whole.sum(0)) for v in whole]
    assert [r.cosine.value for r in found.per_reward.values()] == pytest.approx(expected)


def test_a_balance_of_an_unknown_reward_is_refused():
    single = BalanceSettings(method="single", reward="ocr")
    with pytest.raises(BadInputError, match="unknown reward 'ocr'"):
        judge([record_of(np.eye(2), np.eye(2))], Direction("single:ocr", single))
