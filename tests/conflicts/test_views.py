from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from marblecli.conflicts.judge import Direction, judge
from marblecli.conflicts.views import VIEWS, Trial, slice_view
from support.records import record_of


def test_slices_take_the_coefficients_that_were_applied():
    """d = 2 a + b = (2, 1) against the slice's signals (1, 0) and (0, -1)."""
    record = record_of(
        np.eye(2), np.zeros((2, 2)), coefficients=(2.0, 1.0), slices={"s": [[1, 0], [0, -1]]}
    )
    found = judge([record], Direction("applied"), {"s": slice_view("s")})["s"]
    values = [reward.cosine.value for reward in found.per_reward.values()]
    assert values == pytest.approx([2 / np.sqrt(5), -1 / np.sqrt(5)])


def test_a_combination_is_judged_by_other_vectors():
    """d = 2 g_1 + g_2 = (2, 1) has cosines 2/sqrt(5) and -1/sqrt(5) with (3, 0) and (0, -1)."""
    others = np.array([[3.0, 0.0], [0.0, -1.0]])
    trial = Trial(gram=np.eye(2), products=others, norms=np.array([3.0, 1.0]))
    found = trial.cosines(np.array([2.0, 1.0]))
    assert found == pytest.approx([2 / np.sqrt(5), -1 / np.sqrt(5)])


def test_a_batch_without_parts_or_new_images_has_only_its_own_view():
    record = dataclasses.replace(record_of(np.eye(2), np.eye(2)), parts=None)
    assert [name for name, view in VIEWS.items() if view.trials(record)] == ["batch"]
    assert slice_view("source x").trials(record) == ()


def test_only_held_out_halves_are_solved_on_halves():
    halved = [name for name, view in VIEWS.items() if view.solved_on == "halves"]
    assert halved == ["held-out"]
