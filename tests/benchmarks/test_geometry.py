from __future__ import annotations

import numpy as np
import pytest

from geometry import GEOMETRIES, jackknife, squared_signal_to_noise


def products_of(batches: int, size: int, noise: float) -> np.ndarray:
    """Of two rewards: signals of length 1 and 2 in noise of the same expected length each."""
    rng = np.random.default_rng(0)
    signal = np.zeros((2, size))
    signal[:, 0] = 1.0, 2.0
    drawn = signal + noise / np.sqrt(size) * rng.standard_normal((batches, 2, size))
    return np.einsum("akp,bkp->kab", drawn, drawn)


def test_the_ratio_is_that_of_the_signal_and_the_noise() -> None:
    found = squared_signal_to_noise(products_of(60, 4000, noise=2.0))
    assert found == pytest.approx([0.25, 1.0], rel=0.1)


def test_batches_that_are_all_noise_have_a_ratio_around_zero() -> None:
    found = squared_signal_to_noise(products_of(60, 4000, noise=200.0))
    assert abs(found).max() < 0.01


def test_half_the_passes_are_worth_twice_as_much() -> None:
    products = products_of(10, 400, noise=2.0)
    one, error = jackknife(products, 10.0)
    twice, twice_error = jackknife(products, 5.0)
    assert twice == pytest.approx(2 * one)
    assert twice_error == pytest.approx(2 * error)
    assert 0 < error < one


def test_the_published_geometry_takes_the_passes_that_were_counted() -> None:
    """25 steps, and for each of 24 rows three forward passes and a backward pass."""
    assert GEOMETRIES[0].passes == pytest.approx(25 + 24 * 4.12)


def test_rows_that_are_left_out_cost_their_sampling_only() -> None:
    """Twice the images, of which half are trained: a baseline's rows, and eight more steps."""
    baseline, larger = (
        next(each for each in GEOMETRIES if each.name.startswith(name))
        for name in ("8 steps, 4 levels above 0.8", "rows: 12 extremes of 24")
    )
    assert larger.passes == pytest.approx(baseline.passes + 8)
    assert "training.rows.extremes=12" in larger.overrides()
