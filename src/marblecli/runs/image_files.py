"""Image files: PNG for tiny images and whatever must be exact, JPEG for the rest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

_TINY = 96
"""Pixels of the longest side: JPEG would be seen in images that are enlarged."""
_QUALITY = 92


def format_of(size: tuple[int, int]) -> str:
    """The ending of a file that holds images of ``size`` (width, height): ``png`` or ``jpg``."""
    return "png" if max(size) <= _TINY else "jpg"


def save_image(path: Path, image: Image.Image, texts: Mapping[str, str] | None = None) -> None:
    """Write a file in the format of its ending.

    ``texts`` are the text chunks of a PNG, by keyword; a JPEG must have none.
    """
    if path.suffix == ".png":
        chunks = PngInfo()
        for keyword, text in (texts or {}).items():
            chunks.add_itxt(keyword, text)
        image.save(path, format="png", pnginfo=chunks, optimize=True)
    elif texts:
        raise ValueError(f"{path}: only a PNG holds texts")
    else:
        # 4:4:4, so that coloured text stays sharp.
        image.save(path, format="jpeg", quality=_QUALITY, subsampling=0)
