"""Sampled images as one picture: a grid, row by row."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_SMALLEST_TILE = 96
"""Pixels; smaller images are enlarged by a whole factor, so that they can be seen."""

_MOST_COLUMNS = 16


def grid_columns(prompts: Sequence[str]) -> int:
    """Columns of a grid of one image a prompt: each prompt's images fill whole rows.

    Where prompts have different numbers of images, or one each, the grid is as square as it can be.
    """
    runs = {len(list(images)) for _, images in itertools.groupby(prompts)}
    if len(runs) > 1 or runs == {1}:
        return math.ceil(math.sqrt(len(prompts)))
    return min(runs.pop(), _MOST_COLUMNS)


def save_grid(path: Path, images: Tensor, columns: int) -> None:
    """Write float32 [B, 3, H, W] in [0, 1], B at least 1, as a PNG."""
    from PIL import Image

    pixels = images.detach().nan_to_num().clamp(0, 1).mul(255).round().byte()
    tiles = pixels.permute(0, 2, 3, 1).cpu().numpy()
    count, height, width, _ = tiles.shape
    grid = Image.new("RGB", (columns * width, math.ceil(count / columns) * height))
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        grid.paste(Image.fromarray(tile), (column * width, row * height))
    factor = max(1, math.ceil(_SMALLEST_TILE / width))
    size = (grid.width * factor, grid.height * factor)
    grid.resize(size, Image.Resampling.NEAREST).save(path, format="png")
