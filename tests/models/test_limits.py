from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marblecli.models.limits import Limits

MEDIUM = Limits(side_step=16, largest_side=6144, tokens={})
TINY = Limits(side_step=8, largest_side=32, tokens={})


@pytest.mark.parametrize(
    ("limits", "side", "message"),
    [
        (
            MEDIUM,
            520,
            "must be a multiple of 16 and at most 6144 with this model, got 520; "
            "the nearest are 512 or 528",
        ),
        (
            TINY,
            40,
            "must be a multiple of 8 and at most 32 with this model, got 40; "
            "the nearest are 24 or 32",
        ),
        (
            Limits(16, None, {}),
            520,
            "must be a multiple of 16 with this model, got 520; the nearest are 512 or 528",
        ),
    ],
)
def test_a_wrong_side_is_told_with_the_nearest_valid_ones(
    limits: Limits, side: int, message: str
) -> None:
    assert limits.side_fault(side) == message


@given(
    step=st.sampled_from([4, 8, 16, 32]),
    places=st.none() | st.integers(1, 50),
    side=st.integers(1, 4000),
)
def test_nearest_sides_are_valid_and_none_is_nearer(
    step: int, places: int | None, side: int
) -> None:
    limits = Limits(step, None if places is None else places * step, {})
    valid = [n * step for n in range(1, 1010 if places is None else places + 1)]
    nearest = limits.nearest_sides(side)
    assert set(nearest) <= set(valid)
    assert all(limits.side_fault(near) is None for near in nearest)
    assert min(abs(near - side) for near in nearest) == min(abs(good - side) for good in valid)
    assert (limits.side_fault(side) is None) == (side in valid)
    assert len(nearest) == min(2, len(valid))
