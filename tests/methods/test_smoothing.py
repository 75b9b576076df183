from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grams import unit_gram
from marblecli.methods.smoothing import recall, remember, shrink

ALL = np.array([True, True])


def batch(cosine, norms):
    return np.array([[1.0, cosine], [cosine, 1.0]]), np.array(norms)


def test_two_batches_worked_by_hand():
    """Half the weight for the earlier one: the later counts 2 to 1."""
    memory = remember(None, *batch(0.3, [1.0, 10.0]), 0.5)
    memory = remember(memory, *batch(-0.6, [4.0, 1.0]), 0.5)
    gram, norms = recall(memory, ALL)
    assert gram == pytest.approx(np.array([[1.0, -0.3], [-0.3, 1.0]]))
    assert norms == pytest.approx([3.0, 4.0])


def test_the_first_batch_is_remembered_whole():
    given_gram, given_norms = batch(0.3, [1.0, 10.0])
    gram, norms = recall(remember(None, given_gram, given_norms, 0.99), ALL)
    assert gram == pytest.approx(given_gram, rel=1e-14)
    assert norms == pytest.approx(given_norms, rel=1e-14)


def test_no_decay_forgets():
    memory = remember(None, *batch(0.3, [1.0, 10.0]), 0.0)
    gram, norms = recall(remember(memory, *batch(-0.6, [4.0, 1.0]), 0.0), ALL)
    assert gram[0, 1] == -0.6
    assert norms.tolist() == [4.0, 1.0]


def test_a_reward_missing_from_a_batch_keeps_its_norm_and_loses_some_cosine():
    """The second is missing once: of half the weight, sqrt(1/3) of its cosine is left."""
    memory = remember(None, *batch(0.6, [1.0, 10.0]), 0.5)
    memory = remember(memory, np.diag([1.0, 0.0]), np.array([4.0, 0.0]), 0.5)
    gram, norms = recall(memory, ALL)
    assert gram == pytest.approx(np.array([[1.0, 0.6 / np.sqrt(3)], [0.6 / np.sqrt(3), 1.0]]))
    assert norms == pytest.approx([3.0, 10.0])
    gram, norms = recall(memory, np.array([True, False]))
    assert gram.tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert norms == pytest.approx([3.0, 0.0])


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(2, 8),
    batches=st.integers(1, 6),
    decay=st.floats(0.0, 0.99),
    seed=st.integers(0, 2**32 - 1),
)
def test_whatever_was_missing_when_it_stays_a_gram_of_unit_gradients(count, batches, decay, seed):
    rng = np.random.default_rng(seed)
    memory = None
    for _ in range(batches):
        usable = rng.random(count) < 0.6
        gram = np.where(np.outer(usable, usable), unit_gram(rng.normal(size=(count, 3))), 0.0)
        memory = remember(memory, gram, np.where(usable, rng.random(count), 0.0), decay)
    gram, norms = recall(memory, usable)
    assert gram.diagonal().tolist() == usable.astype(float).tolist()
    assert np.linalg.eigvalsh(gram)[0] >= -1e-12
    assert np.isfinite(norms).all()


def test_shrinking_scales_the_cosines_and_leaves_what_is_masked():
    gram = np.array([[1.0, -0.8, 0.0], [-0.8, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert shrink(gram, 0.25) == pytest.approx(
        np.array([[1.0, -0.6, 0.0], [-0.6, 1.0, 0.0], [0.0, 0.0, 0.0]])
    )
    assert shrink(gram, 1.0).tolist() == np.diag([1.0, 1.0, 0.0]).tolist()
