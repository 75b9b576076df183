from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from marblecli.conflicts.pairs import pairs_of
from marblecli.conflicts.record import PartsRecord
from support.records import noisy_records, record_of

KEYS = [field.name for field in dataclasses.fields(PartsRecord)]


def test_pairs_worked_by_hand_worst_first():
    zero = np.zeros((3, 2))
    records = [
        record_of([[1, 0], [-1, 0], [0, 2]], zero, names="abc"),
        record_of([[1, 0], [1, 1], [0, 0]], zero, names="abc"),
    ]
    pairs = {(pair.first, pair.second): pair for pair in pairs_of(records)}
    against = pairs["a", "b"]
    assert (against.batches, against.conflict_share.value) == (2, 0.5)
    assert against.cosine.value == pytest.approx((np.sqrt(0.5) - 1.0) / 2.0)
    assert (pairs["a", "c"].batches, pairs["a", "c"].cosine.value) == (1, 0.0)
    assert next(iter(pairs)) == ("a", "b")


@pytest.mark.parametrize(
    ("cosine", "strength", "verdict"),
    [
        (-0.9, 0.4, "conflict"),
        (0.9, 0.4, "agreement"),
        (0.9, 0.0, "not significant"),
        (0.0, 0.4, "not significant"),
    ],
)
def test_verdicts(cosine, strength, verdict):
    (pair,) = pairs_of(noisy_records(cosine, strength, batches=30))
    assert pair.verdict == verdict


def test_records_without_halves_have_no_verdict():
    records = [dataclasses.replace(each, parts=None) for each in noisy_records(-0.9, 0.4, 30)]
    (pair,) = pairs_of(records)
    assert pair.verdict == "not measured"
    assert pair.cosine.value < 0.0
    assert np.isnan(pair.corrected.value)


def test_significant_conflicts_come_before_what_single_batches_show():
    """A pair that shared noise puts at odds in every batch, after one that truly is."""
    true = noisy_records(-0.9, 0.4, batches=30)
    noise = noisy_records(0.0, 0.0, batches=30, shared=-0.8)
    records = [
        dataclasses.replace(
            one,
            rewards=("n", "m", "s", "t"),
            norms=(*other.norms, *one.norms),
            gram=_diagonal(other.gram, one.gram),
            parts=PartsRecord(
                **{key: _diagonal(vars(other.parts)[key], vars(one.parts)[key]) for key in KEYS}
            ),
        )
        for one, other in zip(true, noise, strict=True)
    ]
    pairs = pairs_of(records)
    assert (pairs[0].first, pairs[0].second) == ("s", "t")
    noisy = next(pair for pair in pairs if (pair.first, pair.second) == ("n", "m"))
    assert noisy.cosine.value < pairs[0].cosine.value


def _diagonal(one, other):
    block = np.zeros((4, 4))
    block[:2, :2], block[2:, 2:] = one, other
    return tuple(map(tuple, block.tolist()))
