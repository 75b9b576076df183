"""Draw the picture of the README from a finished run.

    marble train recipes/quickstart.toml --run-dir RUN_DIR
    python docs/picture.py RUN_DIR docs/images/quickstart.png

One pair of rows for each training prompt: the first images of the base model, and below them those
of the trained weights from the same noise. No image is chosen.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image, ImageDraw, ImageFont

IMAGES = 16
"""Images of each prompt, the first ones."""
TILE, GAP, LABELS, BETWEEN = 48, 2, 216, 10
"""Pixels: side of an image, space between images, width of the labels, space between prompts."""
INK, FAINT, PAPER = "#1f2328", "#656d76", "white"


def main(
    run_dir: Annotated[Path, typer.Argument(help="A finished run with training prompts.")],
    file: Annotated[Path, typer.Argument(help="The PNG to write.")],
) -> None:
    """Draw base and trained images of each training prompt, side by side."""
    sheets = sorted((run_dir / "samples").glob("step-*-train.json"))
    picture = draw(sheets[0], sheets[-1])
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(128).save(file, optimize=True)


def draw(base: Path, trained: Path) -> Image.Image:
    """The picture, from the JSON files beside the first and the last grid of a run."""
    rows = list(zip(prompt_rows(base), prompt_rows(trained), strict=True))
    height = 2 * (TILE + GAP) + BETWEEN
    width = LABELS + IMAGES * (TILE + GAP)
    picture = Image.new("RGB", (width, len(rows) * height - BETWEEN), PAPER)
    pen = ImageDraw.Draw(picture)
    for place, ((prompt, before), (_, after)) in enumerate(rows):
        top = place * height
        _text(pen, (4, top + TILE // 2), prompt, INK)
        for offset, name, images in ((0, "base", before), (TILE + GAP, "trained", after)):
            _text(pen, (LABELS - 54, top + offset + TILE // 2), name, FAINT)
            for column, image in enumerate(images):
                picture.paste(image, (LABELS + column * (TILE + GAP), top + offset))
    return picture


def prompt_rows(sheet: Path) -> Iterator[tuple[str, list[Image.Image]]]:
    """Each prompt of a grid with its first images, at the size of the picture."""
    listed = json.loads(sheet.read_text(encoding="utf-8"))
    columns, prompts = listed["columns"], [entry["prompt"] for entry in listed["prompts"]]
    with Image.open(sheet.with_suffix(".png")) as grid:
        side = grid.width // columns
        for prompt, places in itertools.groupby(range(len(prompts)), prompts.__getitem__):
            corners = [divmod(place, columns) for place in itertools.islice(places, IMAGES)]
            yield prompt, [_tile(grid, row * side, column * side, side) for row, column in corners]


def _tile(grid: Image.Image, top: int, left: int, side: int) -> Image.Image:
    box = (left, top, left + side, top + side)
    return grid.crop(box).resize((TILE, TILE), Image.Resampling.LANCZOS)


def _text(pen: ImageDraw.ImageDraw, place: tuple[int, int], text: str, colour: str) -> None:
    pen.text(place, text, fill=colour, font=ImageFont.load_default(11), anchor="lm")


if __name__ == "__main__":
    typer.run(main)
