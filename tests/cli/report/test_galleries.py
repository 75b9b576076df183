from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from marblecli.cli.report.galleries import galleries_of
from marblecli.errors import BadInputError
from marblecli.pictures.legend import LegendCell, Picture, Scores


def picture(folder: Path, step: int, kind: str = "prompts") -> Picture:
    """Two prompts, base left and now right; the base model's own picture has no now."""
    path = folder / f"step-{step:06d}-{kind}.png"
    Image.new("RGB", (40, 40), "red").save(path)
    cells = tuple(
        LegendCell(
            f"prompt {row}",
            "source",
            "held-out",
            row,
            rewards={"ocr": Scores(0.5, 0.75), "aes": Scores(None, 0.5)} if step else {},
            change=0.5 - row,
            base=(0, 20 * row, 20, 20 * row + 20),
            now=(20, 20 * row, 40, 20 * row + 20) if step else None,
        )
        for row in range(2)
    )
    return Picture(step, kind, f"Step {step}", cells, path)  # type: ignore[arg-type] # a Literal


def test_a_prompt_has_its_base_and_all_its_steps(tmp_path: Path) -> None:
    (gallery,) = galleries_of([picture(tmp_path, step) for step in (0, 5, 10)])
    assert gallery.steps == (5, 10)
    for exhibit in gallery.exhibits:
        assert exhibit.base is not None
        assert (exhibit.base.width, exhibit.base.height) == (20, 20)
        assert exhibit.frames[5].notes == (("ocr", "+0.250"),)
        assert exhibit.group == "held-out prompt"
    assert [each.caption for each in gallery.exhibits] == ["prompt 0", "prompt 1"]


def test_the_base_model_alone_is_shown_without_steps(tmp_path: Path) -> None:
    (gallery,) = galleries_of([picture(tmp_path, 0)])
    assert gallery.steps == ()
    assert all(each.base is not None for each in gallery.exhibits)


def test_only_the_last_picture_of_what_changed_most_is_shown(tmp_path: Path) -> None:
    (gallery,) = galleries_of([picture(tmp_path, step, "changed") for step in (5, 10)])
    assert gallery.title.endswith("step 10")
    groups = [exhibit.group for exhibit in gallery.exhibits]
    assert groups == ["held-out prompt that gained", "held-out prompt that lost"]


def test_of_many_steps_some_are_shown_with_the_last(tmp_path: Path) -> None:
    (gallery,) = galleries_of([picture(tmp_path, step) for step in range(1, 40)])
    assert len(gallery.steps) == 12
    assert gallery.steps[-1] == 39


def test_grids_of_earlier_versions_are_shown_whole(tmp_path: Path) -> None:
    grids = []
    for step in (0, 5):
        path = tmp_path / f"step-{step}.png"
        Image.new("RGB", (2000, 1000)).save(path)
        cells = tuple(LegendCell(prompt, "s", "train") for prompt in ("a", "a", "b"))
        grids.append(Picture(step, "grid", "", cells, path))
    (gallery,) = galleries_of(grids)
    (exhibit,) = gallery.exhibits
    assert exhibit.caption == "a; b"
    assert exhibit.base is None
    assert exhibit.frames[5].width == 900


def test_a_picture_that_is_gone_is_an_error(tmp_path: Path) -> None:
    gone = picture(tmp_path, 5)
    gone.path.unlink()
    with pytest.raises(BadInputError, match="isn't a readable picture"):
        galleries_of([gone])
    assert galleries_of([]) == ()
