from __future__ import annotations

import numpy as np
import pytest

from marblecli.conflicts.record import PartsRecord, to_matrix
from marblecli.types import PartGrams
from support.records import record_of


def test_parts_are_recorded_and_read_back_as_they_were():
    arrays = np.random.default_rng(0).normal(size=(5, 3, 3))
    recorded = PartsRecord.of(PartGrams(*arrays))
    assert recorded.cross == to_matrix(arrays[2])
    for name, array in vars(PartGrams(*arrays)).items():
        assert (getattr(recorded.grams, name) == array).all()


def test_the_parts_of_a_batch_make_up_its_gram():
    rng = np.random.default_rng(0)
    record = record_of(*rng.normal(size=(3, 2, 4)))
    parts = record.part_grams
    whole = parts.signal + parts.pull + parts.signal_pull + parts.signal_pull.T
    assert whole == pytest.approx(np.array(record.gram))


def test_records_of_the_same_batch_are_equal_whatever_was_asked_of_them():
    asked = record_of(np.eye(2), np.eye(2))
    assert asked.part_grams is not None
    assert asked == record_of(np.eye(2), np.eye(2))
    assert record_of(np.eye(2), np.eye(2)) == record_of(np.eye(2), np.eye(2))
    assert record_of(np.eye(2), np.eye(2)) != record_of(np.eye(2), 2 * np.eye(2))
