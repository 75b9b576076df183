from __future__ import annotations

from typing import Any

import pytest

from geometry import GEOMETRIES
from marblecli.runs.overrides import apply_override


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


def test_a_recipes_own_levels_are_not_those_of_a_geometry() -> None:
    table: dict[str, Any] = {"training": {"levels": {"draw": "uniform", "low": 0.8}}}
    for override in GEOMETRIES[0].overrides():
        assert not apply_override(table, override)
    assert table["training"]["levels"] == {}
