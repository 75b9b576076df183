from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from marblecli.errors import BadInputError
from marblecli.runs.samples import grid_columns, read_samples, save_grid, save_samples
from marblecli.types import Prompt


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (2, 2), (4, 2), (5, 3), (12, 4)])
def test_a_grid_of_single_images_is_as_square_as_it_can_be(count: int, columns: int) -> None:
    assert grid_columns([str(index) for index in range(count)]) == columns


@pytest.mark.parametrize(
    ("prompts", "columns"),
    [("aabbcc", 2), ("aaa", 3), ("aab", 2), ("a" * 40 + "b" * 40, 16)],
)
def test_the_images_of_a_prompt_share_rows(prompts: str, columns: int) -> None:
    assert grid_columns(prompts) == columns


def test_images_go_row_by_row(tmp_path: Path) -> None:
    images = torch.stack([torch.full((3, 100, 120), shade) for shade in (0.0, 0.5, 1.0)])
    save_grid(tmp_path / "a.png", images, 2)
    pixels = np.asarray(Image.open(tmp_path / "a.png"))
    assert pixels.shape == (200, 240, 3)
    corners = [pixels[y, x, 0] for y in (0, 199) for x in (0, 239)]
    assert corners == [0, 128, 255, 0]


def test_small_images_are_enlarged_without_blur(tmp_path: Path) -> None:
    image = torch.rand(1, 3, 32, 32)
    save_grid(tmp_path / "a.png", image, 1)
    pixels = np.asarray(Image.open(tmp_path / "a.png"))
    assert pixels.shape == (96, 96, 3)
    wanted = (image[0] * 255).round().byte().permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(pixels[1::3, 1::3], wanted)


def test_values_out_of_range_are_clipped(tmp_path: Path) -> None:
    images = torch.tensor([-1.0, 2.0, float("nan")]).reshape(1, 3, 1, 1).expand(1, 3, 96, 96)
    save_grid(tmp_path / "a.png", images, 2)
    assert tuple(np.asarray(Image.open(tmp_path / "a.png"))[0, 0]) == (0, 255, 0)


def test_a_picture_is_read_back_with_its_prompts(tmp_path: Path) -> None:
    prompts = (Prompt("a cat", "plain"), Prompt("a dog", "plain"))
    for step, split in ((10, "train"), (2, "held-out"), (2, "train")):
        save_samples(tmp_path, step, split, prompts, torch.rand(2, 3, 8, 8))
    grids = read_samples(tmp_path)
    assert [(grid.step, grid.split) for grid in grids] == [
        (2, "held-out"),
        (2, "train"),
        (10, "train"),
    ]
    for grid in grids:
        assert (grid.columns, grid.prompts) == (2, prompts)
        assert grid.picture.is_file()


def test_a_legend_keeps_the_keys_that_scripts_rely_on(tmp_path: Path) -> None:
    save_samples(tmp_path, 3, "train", [Prompt("a cat", "plain")], torch.rand(1, 3, 8, 8))
    assert json.loads((tmp_path / "step-000003-train.json").read_text()) == {
        "schema": 1,
        "step": 3,
        "split": "train",
        "columns": 1,
        "prompts": [{"prompt": "a cat", "source": "plain"}],
    }


def test_a_legend_from_before_there_was_a_schema_is_read(tmp_path: Path) -> None:
    legend = {"step": 3, "split": "train", "columns": 1, "prompts": []}
    (tmp_path / "step-000003-train.json").write_text(json.dumps(legend))
    (grid,) = read_samples(tmp_path)
    assert grid.prompts == ()


@pytest.mark.parametrize("text", ["{", "[]", '{"step": 1}', '{"step": 1, "prompts": 3}'])
def test_a_broken_legend_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "step-000003-train.json").write_text(text)
    with pytest.raises(BadInputError, match=r"step-000003-train\.json: isn't a whole legend"):
        read_samples(tmp_path)
