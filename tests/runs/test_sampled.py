from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from marblecli.errors import MarbleError
from marblecli.runs.sampled import SampledFolder

IMAGE = Image.new("RGB", (8, 8), "red")


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("a cat", "001-a-cat-seed3.png"),
        ("../../etc/passwd: \n*?", "001-etc-passwd-seed3.png"),
        ("a" * 200, f"001-{'a' * 40}-seed3.png"),
        ("猫 and été", "001-猫-and-été-seed3.png"),
        ("!", "001--seed3.png"),
    ],
)
def test_a_name_is_made_of_the_prompts_letters(tmp_path: Path, prompt: str, name: str) -> None:
    folder = SampledFolder.make(tmp_path / "new" / "folder")
    path = folder.add(("001", prompt, "seed3"), IMAGE, {"prompt": prompt})
    assert path == tmp_path / "new" / "folder" / name
    with Image.open(path) as found:
        assert found.info["prompt"] == prompt


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    folder = SampledFolder.make(tmp_path)
    for seed in ("1", "2"):
        path = folder.add(("a",), IMAGE, {"seed": seed})
    with Image.open(path) as found:
        assert found.info["seed"] == "2"
    assert [each.name for each in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(("size", "name"), [((32, 32), "grid.png"), ((512, 512), "grid.jpg")])
def test_the_grid_is_small_as_a_file(tmp_path: Path, size: tuple[int, int], name: str) -> None:
    assert SampledFolder.make(tmp_path).save_grid(IMAGE, size).name == name


def test_a_folder_that_cant_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MarbleError, match=r"can't write .*file.*; give another --output"):
        SampledFolder.make(tmp_path / "file" / "folder")
