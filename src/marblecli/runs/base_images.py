"""The base model's images of the first evaluation, kept to be compared with.

``samples/base/`` holds them in sheets, reduced as pictures show them, and ``index.json``. Of a
split that would take more than :data:`MOST` pixels, the first images of every prompt are kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from pydantic import BaseModel, ValidationError

from marblecli.errors import BadInputError
from marblecli.pictures.drawing import LIMIT
from marblecli.pictures.tiles import reduced, to_image
from marblecli.runs.atomic import explaining_failure, replacing
from marblecli.runs.image_files import format_of, save_image
from marblecli.runs.json_lines import to_json
from marblecli.runs.schema import KEY, check_schema, stamped
from marblecli.types import ScoredImage

if TYPE_CHECKING:
    from torch import Tensor

MOST = 2**26
"""Pixels of a split that are kept."""
_INDEX = "index.json"


class _Split(BaseModel):
    """Where the images of a split are."""

    width: int
    height: int
    columns: int
    rows: int
    """Of a sheet."""
    sheets: list[str]
    images: list[tuple[int, int]]
    """The prompt's place and the image's number, through all sheets row by row."""


class BaseImages:
    """The base model's images of a run, read when they are asked for."""

    def __init__(self, folder: Path, splits: Mapping[str, _Split]) -> None:
        self._folder = folder
        self._splits = splits
        self._places = {
            split: {(place, number): index for index, (place, number) in enumerate(found.images)}
            for split, found in splits.items()
        }
        self._open: dict[Path, Image.Image] = {}

    @classmethod
    def read(cls, folder: Path) -> BaseImages:
        """Those in ``folder``; none if there is no such folder.

        Raises BadInputError, which names the file, if the index is broken or of a newer version.
        """
        path = folder / _INDEX
        if not path.is_file():
            return cls(folder, {})
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
            check_schema(index.get(KEY), path)
            splits = {name: _Split.model_validate(split) for name, split in index["splits"].items()}
        except (OSError, ValueError, KeyError, AttributeError, ValidationError) as error:
            raise BadInputError(f"{path}: isn't an index of base images ({error})") from error
        return cls(folder, splits)

    def find(self, split: str, image: ScoredImage) -> Image.Image | None:
        """The base model's image from the same prompt and noise; None if it wasn't kept.

        Raises BadInputError if its sheet can't be read.
        """
        index = self._places.get(split, {}).get((image.place, image.number))
        if index is None:
            return None
        kept = self._splits[split]
        number, place = divmod(index, kept.columns * kept.rows)
        row, column = divmod(place, kept.columns)
        left, top = column * kept.width, row * kept.height
        sheet = self._sheet(self._folder / kept.sheets[number])
        return sheet.crop((left, top, left + kept.width, top + kept.height))

    def _sheet(self, path: Path) -> Image.Image:
        if path not in self._open:
            try:
                with Image.open(path) as found:
                    self._open[path] = found.convert("RGB")
            except OSError as error:
                raise BadInputError(f"{path}: can't be read ({error})") from error
        return self._open[path]


def save_base_images(
    folder: Path, records: Mapping[str, Sequence[ScoredImage]], images: Mapping[str, Tensor]
) -> None:
    """Keep the images, float32 [B, 3, H, W] in [0, 1] by split; the folder is whole or absent.

    Raises MarbleError if it can't be written.
    """
    with explaining_failure(folder), replacing(folder) as draft:
        draft.mkdir()
        splits = {
            split: _save_split(draft, split, records[split], found).model_dump()
            for split, found in images.items()
            if len(found)
        }
        text = to_json(stamped({"splits": splits}), indent=1)
        (draft / _INDEX).write_text(text, encoding="utf-8")


def _save_split(folder: Path, split: str, records: Sequence[ScoredImage], images: Tensor) -> _Split:
    width, height = reduced(to_image(images[0])).size
    # Sorted by number, every prompt has its first images among those that are kept.
    order = sorted(range(len(records)), key=lambda index: records[index].number)
    kept = order[: max(1, MOST // (width * height))]
    columns = min(len(kept), max(1, int(LIMIT**0.5) // width))
    rows = max(1, LIMIT // (columns * width * height))
    ending = format_of((images.shape[-1], images.shape[-2]))
    sheets: list[str] = []
    for start in range(0, len(kept), columns * rows):
        part = kept[start : start + columns * rows]
        sheet = Image.new("RGB", (columns * width, -(-len(part) // columns) * height))
        for place, index in enumerate(part):
            row, column = divmod(place, columns)
            sheet.paste(reduced(to_image(images[index])), (column * width, row * height))
        sheets.append(f"{split}-{len(sheets):03d}.{ending}")
        save_image(folder / sheets[-1], sheet)
    return _Split(
        width=width,
        height=height,
        columns=columns,
        rows=rows,
        sheets=sheets,
        images=[(records[index].place, records[index].number) for index in kept],
    )
