from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import picture

PROMPTS = ["a red square"] * 3 + ["a blue circle"] * 3
COLOURS = ["#ff0000", "#cc0000", "#990000", "#0000ff", "#0000cc", "#000099"]


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    """A grid of two columns with three images of one colour each for both prompts."""
    grid = Image.new("RGB", (16, 24))
    for place, colour in enumerate(COLOURS):
        grid.paste(colour, (place % 2 * 8, place // 2 * 8, place % 2 * 8 + 8, place // 2 * 8 + 8))
    grid.save(tmp_path / "step-000000-train.png")
    listed = {"columns": 2, "prompts": [{"prompt": prompt} for prompt in PROMPTS]}
    path = tmp_path / "step-000000-train.json"
    path.write_text(json.dumps(listed))
    return path


def test_each_prompt_has_its_own_images_in_order(sheet: Path) -> None:
    rows = dict(picture.prompt_rows(sheet))
    assert list(rows) == ["a red square", "a blue circle"]
    seen = [image.getpixel((20, 20)) for images in rows.values() for image in images]
    assert seen == [tuple(bytes.fromhex(colour[1:])) for colour in COLOURS]


def test_only_the_first_images_are_drawn(sheet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture, "IMAGES", 2)
    drawn = picture.draw(sheet, sheet)
    seen = {drawn.getpixel((x, y)) for x in range(drawn.width) for y in range(drawn.height)}
    assert (255, 0, 0) in seen
    assert (0x99, 0, 0) not in seen
