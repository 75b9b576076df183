"""Sampled images as one picture: a grid, row by row."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_SMALLEST_TILE = 96
"""Pixels; smaller images are enlarged by a whole factor, so that they can be seen."""


def grid_columns(count: int) -> int:
    """Columns of a grid of ``count`` images that is as square as it can be."""
    return math.ceil(math.sqrt(count))


def save_grid(path: Path, images: Tensor) -> None:
    """Write float32 [B, 3, H, W] in [0, 1], B at least 1, as a PNG."""
    from PIL import Image

    pixels = images.detach().nan_to_num().clamp(0, 1).mul(255).round().byte()
    tiles = pixels.permute(0, 2, 3, 1).cpu().numpy()
    count, height, width, _ = tiles.shape
    columns = grid_columns(count)
    grid = Image.new("RGB", (columns * width, math.ceil(count / columns) * height))
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        grid.paste(Image.fromarray(tile), (column * width, row * height))
    factor = max(1, math.ceil(_SMALLEST_TILE / width))
    size = (grid.width * factor, grid.height * factor)
    grid.resize(size, Image.Resampling.NEAREST).save(path, format="png")
