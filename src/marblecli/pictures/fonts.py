"""Fonts of captions: Pillow's own, and one of the system for characters that it lacks."""

from __future__ import annotations

from functools import cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_OF_SYSTEMS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "Arial.ttf",
    "segoeui.ttf",
    "NotoSansCJK-Regular.ttc",
    "PingFang.ttc",
    "msyh.ttc",
    "Arial Unicode.ttf",
)
"""Looked for in this order, where Pillow looks: in the system's folders of fonts."""
_ABSENT = "\U0010fffe"
"""No character, so that every font draws its sign for a missing one."""


def font_for(text: str, size: int) -> Font:
    """The font of ``size`` pixels that lacks the fewest of the text's characters."""
    best = _own(size)
    least = _lacking(None, text)
    for name in _OF_SYSTEMS if least else ():
        found = _of_system(name, size)
        if found is not None and _lacking(name, text) < least:
            best, least = found, _lacking(name, text)
    return best


def _lacking(name: str | None, text: str) -> int:
    return sum(not _draws(name, character) for character in text if not character.isspace())


@cache
def _draws(name: str | None, character: str) -> bool:
    font = _own(16) if name is None else _of_system(name, 16)
    return font is not None and _pixels(font, character) != _pixels(font, _ABSENT)


def _pixels(font: Font, character: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(character)
    return mask.size, bytes(mask)


@cache
def _own(size: int) -> Font:
    return ImageFont.load_default(size)


@cache
def _of_system(name: str, size: int) -> Font | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None
