from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from marblecli.types import EvaluationRecord, GradientStats, PartGrams, ScoredImage


def test_norms_are_the_roots_of_the_diagonal() -> None:
    gram = np.array([[4.0, 1.0], [1.0, 9.0]])
    assert GradientStats(("a", "b"), gram, np.array([True, True])).norms.tolist() == [2.0, 3.0]


def test_the_signal_is_that_of_both_halves_together() -> None:
    first, second = np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([[3.0, 0.0], [1.0, 1.0]])
    parts = PartGrams(
        first=first @ first.T,
        second=second @ second.T,
        cross=first @ second.T,
        pull=np.zeros((2, 2)),
        signal_pull=np.zeros((2, 2)),
    )
    both = first + second
    np.testing.assert_array_equal(parts.signal, both @ both.T)


def test_means_are_over_the_images_that_have_a_score() -> None:
    scores = ({"ocr": 0.25, "aes": None}, {"ocr": None, "aes": None}, {"ocr": 0.75, "aes": None})
    images = tuple(ScoredImage("a cat", "plain", 0, n, each) for n, each in enumerate(scores))
    record = EvaluationRecord(4, "trained", {"train": images, "held-out": ()})
    assert record.means == {"train": {"ocr": 0.5}, "held-out": {}}


@pytest.mark.parametrize("known", [{}, {"train": {"ocr": 0.5}}])
def test_without_images_the_means_are_those_that_were_kept(
    known: dict[str, dict[str, float]],
) -> None:
    record = EvaluationRecord(4, "trained", {})
    assert replace(record, known_means=known).means == known
