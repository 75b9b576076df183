"""Parts of a picture's file as small image files of their own, for a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from marblecli.errors import BadInputError
from marblecli.pictures.legend import Box

_MOST = 40_000_000
"""Pixels of a picture that is opened; the pictures of earlier versions had no bound."""
_QUALITY = 82


@dataclass(frozen=True)
class Cut:
    """A part of a picture as a file."""

    data: bytes
    kind: str
    """The media type."""
    width: int
    height: int


def cut_out(path: Path, boxes: Sequence[Box], side: int) -> tuple[Cut, ...]:
    """The parts of a picture in the ``boxes``, each with at most ``side`` pixels a side.

    They are PNG where the picture is, and WebP otherwise. Raises BadInputError if the picture can't
    be read, is too large, or doesn't reach as far as a box.
    """
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > _MOST:
                raise BadInputError(
                    f"{path}: has {opened.width} x {opened.height} pixels: too many"
                )
            picture = opened.convert("RGB")
    except (OSError, Image.DecompressionBombError) as error:
        raise BadInputError(f"{path}: isn't a readable picture ({error})") from error
    return tuple(_cut(picture, path, box, side) for box in boxes)


def whole(path: Path, side: int) -> Cut:
    """The whole picture, with at most ``side`` pixels a side; see :func:`cut_out`."""
    try:
        with Image.open(path) as opened:
            size = opened.size
    except (OSError, Image.DecompressionBombError) as error:
        raise BadInputError(f"{path}: isn't a readable picture ({error})") from error
    return cut_out(path, [(0, 0, *size)], side)[0]


def _cut(picture: Image.Image, path: Path, box: Box, side: int) -> Cut:
    left, top, right, bottom = box
    if not (0 <= left < right <= picture.width and 0 <= top < bottom <= picture.height):
        raise BadInputError(f"{path}: has no pixels at {box}")
    part = picture.crop(box)
    part.thumbnail((side, side))
    buffer = BytesIO()
    exact = path.suffix == ".png"
    if exact:
        part.save(buffer, format="png", optimize=True)
    else:
        part.save(buffer, format="webp", quality=_QUALITY)
    kind = "image/png" if exact else "image/webp"
    return Cut(buffer.getvalue(), kind, part.width, part.height)
