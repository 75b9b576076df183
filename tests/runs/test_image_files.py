from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from marblecli.runs.image_files import format_of, save_image


@pytest.mark.parametrize(
    ("size", "ending"), [((32, 32), "png"), ((96, 64), "png"), ((512, 512), "jpg")]
)
def test_tiny_images_are_kept_exactly(size: tuple[int, int], ending: str) -> None:
    assert format_of(size) == ending


def test_a_png_is_exact_and_holds_texts(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    save_image(tmp_path / "a.png", Image.fromarray(noise), {"prompt": "a “cat”\n猫", "seed": "3"})
    with Image.open(tmp_path / "a.png") as found:
        np.testing.assert_array_equal(np.asarray(found), noise)
        assert found.info["prompt"] == "a “cat”\n猫"
        assert found.info["seed"] == "3"


def test_a_jpeg_holds_no_texts(tmp_path: Path) -> None:
    save_image(tmp_path / "a.jpg", Image.new("RGB", (20, 20), "red"))
    with Image.open(tmp_path / "a.jpg") as found:
        assert found.format == "JPEG"
    with pytest.raises(ValueError, match="only a PNG"):
        save_image(tmp_path / "a.jpg", Image.new("RGB", (20, 20)), {"a": "b"})
