from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from marblecli.conflicts.columns import (
    by_name,
    column_each,
    gradient_cosines,
    named_half_cosines,
    reward_names,
    rewards_without_images,
)
from support.records import record_of


def test_values_are_put_in_the_order_of_the_names():
    record = record_of(np.eye(2), np.eye(2), names="ca")
    found = by_name(record, ("a", "b", "c"), (0.5, None))
    assert found == pytest.approx([np.nan, np.nan, 0.5], nan_ok=True)


def test_every_reward_has_a_column_whatever_batch_it_is_of():
    records = [record_of(np.eye(2), np.eye(2), names=names) for names in ("ba", "bc")]
    assert reward_names(records) == ("b", "a", "c")
    norms = column_each(records, lambda record: record.norms)
    assert norms == pytest.approx(np.array([[2, 2, np.nan], [2, np.nan, 2]]), nan_ok=True)


def test_cosines_of_one_batch_are_by_name():
    record = record_of([[1, 0], [1, 1]], np.zeros((2, 2)), names="ca")
    found = gradient_cosines(record, ("a", "b", "c"))
    assert found[0, 2] == found[2, 0] == pytest.approx(np.sqrt(0.5))
    assert np.isnan(found[1]).all()


def test_half_cosines_are_by_name_and_missing_where_nothing_was_measured():
    record = record_of([[1, 0], [0, 0]], [[3, 4], [0, 0]], names="ba")
    found = named_half_cosines(record, ("a", "b", "c"))
    assert found[1, 1] == pytest.approx(0.6)
    assert np.isnan(found).sum() == 8
    old = dataclasses.replace(record, parts=None)
    assert np.isnan(named_half_cosines(old, ("a", "b"))).all()


def test_a_reward_that_scored_no_image_of_any_batch_is_named():
    once, never = (
        dataclasses.replace(record_of(np.eye(2), np.eye(2)), valid=valid)
        for valid in ((4, 4), (4, 0))
    )
    assert rewards_without_images([never, never]) == ("b",)
    assert rewards_without_images([never, once]) == ()
