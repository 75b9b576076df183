from __future__ import annotations

import math

import pytest

from marblecli.report.curves import Batches, Line, Point, apart, curves, running_means
from support.svg import elements, texts

LINES = [
    Line("held-out", (Point(0, 0.0, math.nan, math.nan), Point(10, 0.2, 0.1, 0.3))),
    Line("training", (Point(0, 0.0, math.nan, math.nan), Point(10, 0.21, 0.1, 0.3))),
]
BATCHES = [Batches("batches", (1, 2, 3), (0.5, 0.6, 0.7))]


def test_lines_are_named_at_their_ends_and_have_points_and_dashes_of_their_own() -> None:
    svg = curves("Reward ocr", "told", LINES, BATCHES)
    assert {"held-out", "training", "step", "change since the base model"} <= set(texts(svg))
    dashes = {
        part.strip()
        for each in elements(svg, "path")
        for part in (each.get("style") or "").split(";")
        if "dasharray" in part
    }
    assert dashes
    assert (
        len({each.get("{http://www.w3.org/1999/xlink}href") for each in elements(svg, "use")}) > 2
    )


def test_every_interval_is_a_bar() -> None:
    def bars(low: float) -> int:
        line = Line("held-out", (LINES[0].points[0], Point(10, 0.2, low, 0.3)))
        drawn = elements(curves("Reward", "", [line], []), "path")
        return sum("stroke-width: 1.1" in (each.get("style") or "") for each in drawn)

    assert (bars(0.1), bars(math.nan)) == (1, 0)


@pytest.mark.parametrize(
    ("lines", "batches", "there", "absent"),
    [
        ([], BATCHES, "mean of training batches", "change since the base model"),
        (LINES, [], "change since the base model", "mean of training batches"),
    ],
)
def test_only_what_is_known_is_drawn(
    lines: list[Line], batches: list[Batches], there: str, absent: str
) -> None:
    found = texts(curves("Reward", "", lines, batches))
    assert there in found
    assert absent not in found


def test_small_changes_have_scales_that_tell_them_apart() -> None:
    points = (Point(0, 0.0, math.nan, math.nan), Point(10, 2e-4, 1e-4, 3e-4))
    scale = [text for text in texts(curves("Reward", "", [Line("a", points)], [])) if "0.0" in text]
    assert len(scale) == len(set(scale)) > 1


def test_many_batches_are_drawn_as_means_of_neighbours() -> None:
    steps = tuple(range(1, 3001))
    few = curves("Reward", "", [], [Batches("a", steps[:150], (0.5,) * 150)])
    many = curves("Reward", "", [], [Batches("a", steps, (0.5,) * 3000)])
    assert len(many) < 1.2 * len(few)


def test_running_means_worked_by_hand() -> None:
    assert running_means([1.0, 2.0, 3.0, 6.0], window=2) == [1.0, 1.5, 2.5, 4.5]
    assert running_means([]) == []


@pytest.mark.parametrize(
    ("places", "moved"),
    [
        ([0.0, 100.0], [0.0, 100.0]),
        ([10.0, 10.0], [5.0, 15.0]),
        ([14.0, 10.0], [17.0, 7.0]),
        ([0.0, 4.0, 100.0], [-3.0, 7.0, 100.0]),
        ([10.0, 10.0, 10.0], [0.0, 10.0, 20.0]),
        ([], []),
    ],
)
def test_names_are_moved_no_more_than_needed(places: list[float], moved: list[float]) -> None:
    assert apart(places, 10.0) == pytest.approx(moved)


def test_a_long_name_has_room_beside_the_axes() -> None:
    name = "a-name-of-25-letters-long"
    svg = curves("Reward", "", [Line(name, LINES[0].points)], [])
    (label,) = [each for each in elements(svg, "text") if each.text == name]
    width = float(svg.split('viewBox="0 0 ')[1].split()[0])
    # A letter of the page's fonts is about 0.57 of the font's size wide.
    assert float(label.get("x") or 0) + 0.57 * 8.5 * len(name) < width
