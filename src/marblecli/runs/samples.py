"""Sampled images as one picture, a grid filled row by row, beside a legend of its prompts."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from marblecli.errors import BadInputError
from marblecli.runs.atomic import explaining_failure, replacing, write_text
from marblecli.runs.json_lines import to_json
from marblecli.runs.schema import KEY, check_schema, stamped
from marblecli.types import Prompt

if TYPE_CHECKING:
    from torch import Tensor

_SMALLEST_TILE = 96
"""Pixels; smaller images are enlarged by a whole factor, so that they can be seen."""

_MOST_COLUMNS = 16


@dataclass(frozen=True)
class SampleGrid:
    """One picture of a run, and what each of its images was asked to show."""

    step: int
    split: str
    columns: int
    prompts: tuple[Prompt, ...]
    """One for each image, row by row."""
    picture: Path


def save_samples(
    folder: Path, step: int, split: str, prompts: Sequence[Prompt], images: Tensor
) -> None:
    """Write ``step-000100-SPLIT.png`` and, with its prompts, ``.json`` of the same name.

    ``images`` is float32 [B, 3, H, W] in [0, 1]; there is one prompt for each. Raises MarbleError
    if the files can't be written.
    """
    path = folder / f"step-{step:06d}-{split}.png"
    columns = grid_columns([prompt.text for prompt in prompts])
    legend = {
        "step": step,
        "split": split,
        "columns": columns,
        "prompts": [{"prompt": prompt.text, "source": prompt.source} for prompt in prompts],
    }
    with explaining_failure(path):
        with replacing(path) as draft:
            save_grid(draft, images, columns)
        write_text(path.with_suffix(".json"), to_json(stamped(legend), indent=1))


def read_samples(folder: Path) -> tuple[SampleGrid, ...]:
    """Every picture that has a legend, by step and split; none if there is no such folder.

    Raises BadInputError, which names the legend, if one is broken or of a newer version.
    """
    return tuple(_read_legend(path) for path in sorted(folder.glob("step-*.json")))


def _read_legend(path: Path) -> SampleGrid:
    try:
        legend = json.loads(path.read_text(encoding="utf-8"))
        check_schema(legend.get(KEY), path)
        return SampleGrid(
            step=legend["step"],
            split=legend["split"],
            columns=legend["columns"],
            prompts=tuple(Prompt(each["prompt"], each["source"]) for each in legend["prompts"]),
            picture=path.with_suffix(".png"),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(f"{path}: isn't a whole legend of samples ({error})") from error


def grid_columns(prompts: Sequence[str]) -> int:
    """Columns of a grid, given the prompt of each image: each prompt's images fill whole rows.

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
