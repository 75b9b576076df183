from __future__ import annotations

import pytest

from geometry import GEOMETRIES


def test_the_published_geometry_takes_the_passes_that_were_counted() -> None:
    """25 steps, and for each of 24 rows three forward passes and a backward pass."""
    assert GEOMETRIES[0].passes == pytest.approx(25 + 24 * 4.12)
