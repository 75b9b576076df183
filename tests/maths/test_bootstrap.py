from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marblecli.maths.bootstrap import bootstrap_interval


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("resample", ["clusters", "within"])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_interval_holds_the_mean_and_stays_between_the_extremes(resample, seed):
    data = np.random.default_rng(seed)
    values, clusters = data.normal(size=40), data.integers(0, 8, size=40)
    mean, low, high = bootstrap_interval(values, clusters, resample, rng(), draws=500)
    assert mean == pytest.approx(values.mean())
    assert values.min() <= low <= mean <= high <= values.max()


def test_the_interval_within_clusters_ignores_differences_between_them():
    """Clusters are constant, so other noise on the same prompts would change nothing."""
    values, clusters = np.array([1.0, 5.0, 1.0, 5.0]), np.array([7, 9, 7, 9])
    assert bootstrap_interval(values, clusters, "within", rng()) == (3.0, 3.0, 3.0)
    _, low, high = bootstrap_interval(values, clusters, "clusters", rng())
    assert (low, high) == (1.0, 5.0)


def test_the_interval_over_clusters_ignores_differences_inside_them():
    """All clusters have the same mean, so other prompts like these would change nothing."""
    values, clusters = np.array([0.0, 2.0, 0.0, 2.0]), np.array([0, 0, 1, 1])
    assert bootstrap_interval(values, clusters, "clusters", rng()) == (1.0, 1.0, 1.0)
    _, low, high = bootstrap_interval(values, clusters, "within", rng())
    assert (low, high) == (0.0, 2.0)


def test_clusters_count_by_their_numbers_of_items():
    """The mean of a draw of clusters (0) and (3, 3) is 0, 2 or 3."""
    values, clusters = np.array([3.0, 0.0, 3.0]), np.array([1, 0, 1])
    mean, low, high = bootstrap_interval(values, clusters, "clusters", rng())
    assert (mean, low, high) == (2.0, 0.0, 3.0)


@pytest.mark.parametrize("resample", ["clusters", "within"])
def test_the_width_is_that_of_the_normal_theory(resample):
    """It is 2 * 1.96 sigma / sqrt(n) if each item is a cluster, and if all items are in one."""
    values = np.random.default_rng(1).normal(size=400)
    clusters = np.arange(400) if resample == "clusters" else np.zeros(400, dtype=np.int64)
    _, low, high = bootstrap_interval(values, clusters, resample, rng(), draws=4000)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20.0, rel=0.06)


@pytest.mark.parametrize("resample", ["clusters", "within"])
def test_a_higher_level_is_wider_and_the_seed_decides(resample):
    values, clusters = np.random.default_rng(2).normal(size=30), np.arange(30) // 3
    narrow = bootstrap_interval(values, clusters, resample, rng(), level=0.5)
    wide = bootstrap_interval(values, clusters, resample, rng(), level=0.99)
    assert wide[1] < narrow[1] <= narrow[2] < wide[2]
    assert wide == bootstrap_interval(values, clusters, resample, rng(), level=0.99)


def test_nothing_to_bootstrap_is_an_error():
    with pytest.raises(ValueError, match="no values"):
        bootstrap_interval(np.array([]), np.array([], dtype=np.int64), "clusters", rng())
