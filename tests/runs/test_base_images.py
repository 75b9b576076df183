from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from marblecli.errors import BadInputError, MarbleError
from marblecli.pictures.drawing import LIMIT
from marblecli.pictures.tiles import to_image
from marblecli.runs import base_images
from marblecli.runs.base_images import BaseImages, save_base_images
from marblecli.types import EvaluationRecord
from support.pictures import evaluation, images_of

PROMPTS = {"train": [("a", "s"), ("b", "s")], "held-out": [("c", "s")]}


def record(count: int) -> EvaluationRecord:
    return evaluation(0, PROMPTS, count, lambda *_: {})


def save(folder: Path, height: int, width: int, count: int = 3) -> dict[str, Tensor]:
    images = images_of(record(count), height, width, 0)
    save_base_images(folder / "base", record(count).images, images)
    return images


def test_tiny_images_come_back_exactly(tmp_path: Path) -> None:
    images = save(tmp_path, 16, 24)
    kept = BaseImages.read(tmp_path / "base")
    for split, records in record(3).images.items():
        for image, pixels in zip(records, images[split], strict=True):
            found = kept.find(split, image)
            np.testing.assert_array_equal(np.asarray(found), np.asarray(to_image(pixels)))


def test_large_images_come_back_smaller_and_close(tmp_path: Path) -> None:
    images = save(tmp_path, 640, 640)
    found = BaseImages.read(tmp_path / "base").find("train", record(3).images["train"][4])
    wanted = to_image(images["train"][4]).resize((320, 320), Image.Resampling.LANCZOS)
    assert found is not None
    assert np.abs(np.asarray(found, float) - np.asarray(wanted, float)).max() < 12


def test_sheets_stay_within_the_bound_of_a_picture(tmp_path: Path) -> None:
    save(tmp_path, 320, 320, count=40)
    sheets = [Image.open(path).size for path in (tmp_path / "base").glob("*.jpg")]
    assert len(sheets) > 2
    assert all(width * height <= LIMIT for width, height in sheets)


def test_the_first_images_of_every_prompt_are_kept_where_not_all_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_images, "MOST", 5 * 8 * 8)
    save(tmp_path, 8, 8, count=4)
    kept = BaseImages.read(tmp_path / "base")
    found = [
        (image.place, image.number)
        for image in record(4).images["train"]
        if kept.find("train", image) is not None
    ]
    assert found == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]


def test_no_folder_is_no_images(tmp_path: Path) -> None:
    kept = BaseImages.read(tmp_path / "base")
    assert kept.find("train", record(1).images["train"][0]) is None


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"splits": {"train": {"width": 3}}}', '{"schema": 9}']
)
def test_a_broken_index_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(BadInputError, match=r"index\.json"):
        BaseImages.read(tmp_path)


def test_a_broken_sheet_is_named(tmp_path: Path) -> None:
    save(tmp_path, 8, 8)
    (tmp_path / "base" / "train-000.png").write_text("no picture")
    kept = BaseImages.read(tmp_path / "base")
    with pytest.raises(BadInputError, match=r"train-000\.png: can't be read"):
        kept.find("train", record(3).images["train"][0])


def test_a_failed_write_leaves_the_earlier_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = save(tmp_path, 8, 8)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(base_images, "save_image", full)
    with pytest.raises(MarbleError, match="No space left"):
        save(tmp_path, 8, 8)
    found = BaseImages.read(tmp_path / "base").find("train", record(3).images["train"][0])
    np.testing.assert_array_equal(np.asarray(found), np.asarray(to_image(images["train"][0])))
