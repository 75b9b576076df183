from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from marblecli.report.charts import Cell, Row, colour, heat_strips, matrix, small_lines

NAMESPACE = "{http://www.w3.org/2000/svg}"


def shapes(svg, kind):
    """The elements of a kind; parsing shows that the SVG is well formed."""
    return [each for each in _parse(svg) if each.tag == NAMESPACE + kind]


def _parse(svg):
    return ET.fromstring(svg)  # noqa: S314


def texts(svg):
    return [each.text for each in shapes(svg, "text")]


def test_colours_go_from_red_over_white_to_blue():
    assert [colour(value) for value in (-1.0, 0.0, 1.0)] == ["#b2182b", "#f7f7f7", "#2166ac"]
    assert colour(-3.0) == colour(-1.0)
    assert colour(None) not in {colour(value / 10) for value in range(-10, 11)}


def test_a_strip_has_a_cell_a_step_and_its_mean():
    svg = heat_strips([Row("ocr - aes", [-1.0, None, 0.5])], [3, 4, 7])
    cells = shapes(svg, "rect")
    assert [cell.get("fill") for cell in cells] == [colour(v) for v in (-1.0, None, 0.5)]
    assert [cell[0].text for cell in cells] == ["step 3: -1.00", "step 4: -", "step 7: +0.50"]
    assert {"ocr - aes", "-0.25", "step 3", "step 7"} <= set(texts(svg))


def test_many_steps_share_cells_and_none_is_lost():
    values = [float(step) / 1000 for step in range(1000)]
    cells = shapes(heat_strips([Row("a", values)], list(range(1, 1001))), "rect")
    assert len(cells) == 130
    assert cells[0][0].text == "mean of steps 1 to 7: +0.00"
    assert cells[-1][0].text.startswith("mean of steps 993 to 1000: +1.00")


def test_lines_share_a_scale_and_break_where_a_value_is_missing():
    rows = [Row("a", [0.0, 1.0, None, 0.5]), Row("b", [1.0, 1.0, 1.0, 1.0])]
    svg = small_lines(rows, [1, 2, 3, 4])
    first, second = shapes(svg, "polyline")
    heights = [float(point.split(",")[1]) for point in first.get("points").split()]
    assert heights == [44.0, 0.0]
    assert len(second.get("points").split()) == 4
    assert len(shapes(svg, "circle")) == 1
    assert "each row: 0 to 1" in texts(svg)


@pytest.mark.parametrize("values", [[0.0, 0.0], [None, None], [-0.2, 0.4]])
def test_lines_stay_in_their_row(values):
    svg = small_lines([Row("a", values)], [1, 2])
    for line in shapes(svg, "polyline"):
        for point in line.get("points").split():
            assert 0.0 <= float(point.split(",")[1]) <= 44.0


def test_the_matrix_puts_every_cell_in_its_place():
    cells = {(0, 0): Cell(1.0, "+1.00", ""), (1, 0): Cell(None, "?", "can't be told")}
    svg = matrix(["a", "b"], cells)
    own, other = shapes(svg, "rect")
    assert (own.get("fill"), other.get("fill")) == (colour(1.0), colour(None))
    assert own.get("x") == other.get("x")
    assert float(own.get("y")) < float(other.get("y"))
    assert {"?", "can't be told", "a", "b"} <= set(texts(svg))


def test_names_cannot_break_the_page():
    svg = matrix(["<script>&"], {(0, 0): Cell(0.0, "<b>", "")})
    assert "<script>" not in svg
    assert "<script>&" in texts(svg)
    assert "<b>" in texts(svg)
