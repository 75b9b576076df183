from __future__ import annotations

import numpy as np
import pytest

import figures
from support.records import noisy_records, record_of


def test_the_worst_cosine_of_each_method_worked_by_hand() -> None:
    """Gradients of lengths 3 and 1 at 120 degrees: their sum is at 90 + 19.1 from the short one."""
    vectors = np.array([[3.0, 0.0], [-0.5, 0.75**0.5]])
    (record,) = [record_of(vectors / 2, vectors / 2)]
    assert figures.worst_cosines([record], "marble") == pytest.approx([0.5])
    assert figures.worst_cosines([record], "equal") == pytest.approx([0.5])
    # <g_2, d> = -1.5 + 1 and |d|^2 = 9 + 1 - 3.
    assert figures.worst_cosines([record], "weighted-sum") == pytest.approx([-0.5 / 7**0.5])


def test_the_matrix_has_single_batches_above_and_significant_cosines_below() -> None:
    cells = figures.pair_matrix(noisy_records(-0.9, 0.3, 40))
    assert np.isnan(np.diag(cells)).all()
    assert cells[1, 0] < -0.6
    assert -0.4 < cells[0, 1] < 0.1
    assert np.isnan(figures.pair_matrix(noisy_records(0.0, 0.01, 8))[1, 0])


def labels(name: str) -> list[str]:
    figure = figures.draw(noisy_records(-0.9, 0.3, 8))[name]
    return [str(line.get_label()) for line in figure.axes[0].lines]


def test_lines_are_labelled() -> None:
    assert labels("method-worst")[:3] == list(figures.METHODS)
    assert labels("method-weights") == ["a", "b"]
