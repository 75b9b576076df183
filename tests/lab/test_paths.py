from __future__ import annotations

import math

import pytest

from marblecli.lab.paths import Waypoint, at_distance, common_distance, path_of
from support.lab_results import REWARDS, results


def at(step: int, distance: float, worst: float) -> Waypoint:
    return Waypoint(step, distance, {"a": 2.0 * worst}, worst, 3.0 * worst)


PATH = (at(0, 0.0, 0.0), at(2, 1.0, 0.5), at(4, 3.0, 0.25))


def test_a_path_leads_from_the_base_model_to_the_end() -> None:
    cells = results().methods["equal"]
    path = path_of(cells, REWARDS, "held-out", {"a": 1.0, "b": 0.5})
    assert [each.step for each in path] == [0, 2, 4]
    assert path[0] == Waypoint(0, 0.0, {"a": 0.0, "b": 0.0}, 0.0, 0.0)
    assert path[2].gains == pytest.approx({"a": 0.3, "b": 0.1}, rel=0.1)
    assert path[2].worst == pytest.approx(0.2, rel=0.1)
    assert path[2].distance == pytest.approx(0.16)


def test_the_place_at_a_distance_is_between_two_evaluations() -> None:
    found = at_distance(PATH, 2.0)
    assert found == Waypoint(3, 2.0, {"a": 0.75}, 0.375, 1.125)
    assert at_distance(PATH, 3.5) is None


def test_the_common_distance_is_that_of_the_nearest_method() -> None:
    near = (at(0, 0.0, 0.0), at(2, 0.25, 0.1), at(4, 0.5, 0.2))
    assert common_distance({"far": PATH, "near": near}) == 0.5


def test_a_line_from_the_start_to_the_end_alone_says_nothing() -> None:
    assert common_distance({"far": PATH, "two": PATH[:2]}) is None


def test_what_wasnt_measured_is_nowhere() -> None:
    unknown = (PATH[0], at(2, math.nan, 0.1), at(4, math.nan, 0.1))
    assert common_distance({"unknown": unknown}) is None
    assert at_distance(unknown, 1.0) is None
