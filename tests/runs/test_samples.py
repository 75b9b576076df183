from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from marblecli.pictures.drawing import LIMIT
from marblecli.runs.pictures import read_pictures
from marblecli.runs.samples import save_samples
from support.pictures import evaluation, images_of

PROMPTS = {
    "train": [(f"t{n}", "one") for n in range(3)] + [("u", "two")],
    "held-out": [(f"h{n}", "two") for n in range(5)],
}
BASE = evaluation(0, PROMPTS, 2, lambda split, place, number: {"x": float(place + number)})
NOW = evaluation(50, PROMPTS, 2, lambda split, place, number: {"x": float(3 - place)})


def save_both(folder: Path, height: int, width: int) -> None:
    save_samples(folder, None, BASE, images_of(BASE, height, width, 0))
    save_samples(folder, BASE, NOW, images_of(NOW, height, width, 1))


def test_each_evaluation_has_its_pictures_in_order(tmp_path: Path) -> None:
    save_both(tmp_path, 8, 8)
    found = read_pictures(tmp_path)
    assert [(each.step, each.kind) for each in found] == [
        (0, "prompts"),
        (50, "changed"),
        (50, "prompts"),
    ]
    assert [each.path.name for each in found] == [
        "step-000000.png",
        "step-000050-changed.png",
        "step-000050.png",
    ]
    assert all(each.path.is_file() for each in found)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (512, 512), (256, 1024), (1024, 16)])
def test_no_picture_has_more_than_four_megapixels(tmp_path: Path, height: int, width: int) -> None:
    save_both(tmp_path, height, width)
    files = [*tmp_path.rglob("*.png"), *tmp_path.rglob("*.jpg")]
    assert len(files) >= 5
    for path in files:
        with Image.open(path) as picture:
            assert picture.width * picture.height <= LIMIT


def test_base_and_trained_image_stand_in_their_boxes(tmp_path: Path) -> None:
    dark = {split: torch.zeros(len(i), 3, 8, 8) for split, i in BASE.images.items()}
    light = {split: torch.ones(len(i), 3, 8, 8) for split, i in NOW.images.items()}
    save_samples(tmp_path, None, BASE, dark)
    strip, changed = save_samples(tmp_path, BASE, NOW, light)
    for each in (strip, changed):
        with Image.open(each.path) as picture:
            for cell in each.cells:
                assert cell.base
                assert cell.now
                assert picture.getpixel(cell.base[:2]) == (0, 0, 0)
                assert picture.getpixel(cell.now[:2]) == (255, 255, 255)


def test_a_run_without_the_base_models_scores_shows_the_trained_images_alone(
    tmp_path: Path,
) -> None:
    (only,) = save_samples(tmp_path, None, NOW, images_of(NOW, 8, 8, 1))
    assert all(cell.base is None and cell.now for cell in only.cells)


def test_an_evaluation_without_images_has_no_picture(tmp_path: Path) -> None:
    empty = evaluation(0, {}, 1, lambda *_: {})
    assert save_samples(tmp_path, None, empty, {}) == ()
    assert read_pictures(tmp_path) == ()


def test_the_legend_keeps_the_keys_that_scripts_rely_on(tmp_path: Path) -> None:
    save_both(tmp_path, 8, 8)
    legend = json.loads((tmp_path / "step-000050.json").read_text())
    assert legend.keys() == {"schema", "step", "kind", "title", "picture", "cells"}
    cell = legend["cells"][0]
    assert cell.keys() == {
        "prompt", "source", "split", "place", "number", "rewards", "change", "base", "now",
    }  # fmt: skip
    assert cell["rewards"] == {"x": {"base": 0.0, "now": 3.0}}
