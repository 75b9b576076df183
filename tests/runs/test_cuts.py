from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from marblecli.errors import BadInputError
from marblecli.runs.cuts import Cut, cut_out, whole


def picture(folder: Path, name: str = "a.png") -> Path:
    """Red at the left and blue at the right, 40 x 20."""
    image = Image.new("RGB", (40, 20), "red")
    image.paste("blue", (20, 0, 40, 20))
    path = folder / name
    image.save(path)
    return path


def opened(cut: Cut) -> Image.Image:
    return Image.open(BytesIO(cut.data)).convert("RGB")


def test_parts_of_a_png_are_exact(tmp_path: Path) -> None:
    left, right = cut_out(picture(tmp_path), [(0, 0, 20, 20), (20, 0, 40, 20)], 320)
    assert (left.kind, left.width, left.height) == ("image/png", 20, 20)
    assert opened(left).getcolors() == [(400, (255, 0, 0))]
    assert opened(right).getcolors() == [(400, (0, 0, 255))]


def test_parts_of_a_photograph_are_webp(tmp_path: Path) -> None:
    (cut,) = cut_out(picture(tmp_path, "a.jpg"), [(0, 0, 20, 20)], 320)
    assert cut.kind == "image/webp"
    assert opened(cut).size == (20, 20)


def test_a_large_part_is_made_smaller(tmp_path: Path) -> None:
    cut = whole(picture(tmp_path), 10)
    assert (cut.width, cut.height) == opened(cut).size == (10, 5)


@pytest.mark.parametrize("box", [(0, 0, 41, 20), (-1, 0, 5, 5), (5, 5, 5, 9), (9, 0, 3, 5)])
def test_a_box_outside_of_the_picture_is_refused(
    tmp_path: Path, box: tuple[int, int, int, int]
) -> None:
    with pytest.raises(BadInputError, match="has no pixels at"):
        cut_out(picture(tmp_path), [box], 320)


def test_what_isnt_a_picture_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(picture(tmp_path).read_bytes()[:60])
    for path in (broken, tmp_path / "absent.png"):
        with pytest.raises(BadInputError, match=r"isn't a readable picture"):
            whole(path, 320)


def test_a_picture_of_any_size_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marblecli.runs.cuts._MOST", 100)
    with pytest.raises(BadInputError, match="40 x 20 pixels: too many"):
        whole(picture(tmp_path), 320)
