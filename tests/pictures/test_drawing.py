from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from marblecli.pictures.drawing import LIMIT, draw
from marblecli.pictures.sheet import Cell, Drawn, Note, Section, Sheet, Tile

RED, BLUE = (255, 0, 0), (0, 0, 255)


def sheet(cells: int, tiles: int, size: tuple[int, int], sections: int = 1) -> Sheet:
    colours = (RED, BLUE)
    shown = tuple(Tile(f"{n}", Image.new("RGB", size, colours[n % 2])) for n in range(tiles))
    cell = Cell(shown, "a long prompt that goes on " * 20, (Note("colour", "+0.12", "up"),))
    return Sheet("Title", "Explanation " * 90, (Section("Heading", (cell,) * cells),) * sections)


def pixels(drawn: Drawn) -> int:
    return drawn.image.width * drawn.image.height


@pytest.mark.parametrize("size", [(32, 32), (512, 512), (640, 320), (16, 2048), (2048, 16)])
@pytest.mark.parametrize(("cells", "tiles"), [(1, 1), (8, 2), (40, 2), (2, 40)])
def test_no_geometry_exceeds_the_bound(size: tuple[int, int], cells: int, tiles: int) -> None:
    drawn = draw(sheet(cells, tiles, size))
    assert pixels(drawn) <= LIMIT
    assert len(drawn.boxes) == cells


def test_every_image_stands_in_its_box() -> None:
    drawn = draw(sheet(3, 2, (512, 256), sections=2))
    assert [len(boxes) for boxes in drawn.boxes] == [2] * 6
    found = np.asarray(drawn.image)
    for boxes in drawn.boxes:
        for (left, top, right, bottom), colour in zip(boxes, (RED, BLUE), strict=True):
            assert (found[top:bottom, left:right] == colour).all()
            assert (right - left, bottom - top) == (320, 160)
            assert not (found[top - 2, left:right] == colour).all()


def test_four_cells_are_two_rows_of_two_where_three_would_fit() -> None:
    boxes = draw(sheet(4, 1, (400, 400))).boxes
    assert len({box[0][1] for box in boxes}) == 1
    boxes = draw(sheet(6, 1, (400, 400))).boxes
    assert len({box[0][0] for box in boxes}) == 3


def test_images_become_smaller_before_any_is_left_out() -> None:
    few, many = draw(sheet(4, 2, (512, 512))), draw(sheet(40, 2, (512, 512)))
    assert few.boxes[0][0][2] - few.boxes[0][0][0] == 320
    assert 32 <= many.boxes[0][0][2] - many.boxes[0][0][0] < 320
    assert len(many.boxes) == 40


def test_a_hopeless_number_of_cells_is_cut_and_the_picture_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = draw(sheet(600, 1, (64, 64)))
    assert pixels(drawn) <= LIMIT
    assert 10 < len(drawn.boxes) < 600


def test_an_empty_sheet_is_a_title() -> None:
    drawn = draw(Sheet("Nothing", "", ()))
    assert drawn.boxes == ()
    assert pixels(drawn) > 0


def test_a_direction_is_drawn_as_a_triangle_and_not_by_colour_alone() -> None:
    def note(direction: str) -> np.ndarray:
        cell = Cell((Tile("", Image.new("RGB", (9, 9))),), "x", (Note("a", "1", direction),))  # type: ignore[arg-type] # a parameter
        drawn = draw(Sheet("", "", (Section("", (cell,)),)))
        return np.asarray(drawn.image.convert("L")) < 160

    none, up, down = note("none"), note("up"), note("down")
    assert up.sum() > none.sum() + 40
    assert (up != down).any()
