from __future__ import annotations

import math

from marblecli.report.scatter import Spot, scatter, unbeaten
from support.svg import elements, texts

SPOTS = (Spot("left", 1.0, 3.0), Spot("right", 3.0, 1.0), Spot("beaten", 1.0, 1.0))


def test_what_another_one_beats_in_both_isnt_on_the_front() -> None:
    assert [spot.name for spot in unbeaten(SPOTS)] == ["left", "right"]
    assert unbeaten((SPOTS[0], SPOTS[0])) == (SPOTS[0], SPOTS[0])


def test_every_spot_has_its_name_and_both_axes_have_theirs() -> None:
    svg = scatter("Front", ("more to the right", "more up"), SPOTS)
    assert {"left", "right", "beaten", "more to the right", "more up"} <= set(texts(svg))
    assert "left: 1.000, 3.000" in (elements(svg, "svg")[0].get("aria-label") or "")


def test_a_spot_without_a_value_is_left_out() -> None:
    assert "gone" not in texts(scatter("Front", ("x", "y"), (*SPOTS, Spot("gone", math.nan, 1.0))))
