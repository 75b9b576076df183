"""Texts that fit a width in pixels."""

from __future__ import annotations

from marblecli.pictures.fonts import Font

_ELLIPSIS = "..."


def wrapped(text: str, font: Font, width: int, lines: int) -> tuple[str, ...]:
    """The text in at most ``lines`` lines of ``width`` pixels; what doesn't fit ends in "...".

    Lines break between words. A word that is wider than a line, and a text without spaces, breaks
    anywhere.
    """
    found: list[str] = []
    rest = " ".join(text.split())
    while rest and len(found) < lines:
        line = _first_line(rest, font, width)
        rest = rest[len(line) :].lstrip()
        found.append(line.rstrip())
    if rest and found:
        found[-1] = _cut(found[-1], font, width)
    return tuple(found)


def _first_line(text: str, font: Font, width: int) -> str:
    # No letter is narrower than a pixel, so no more letters can fit; measuring them would be slow.
    text = text[: width + 1]
    if font.getlength(text) <= width:
        return text
    fitting = _longest(text, font, width)
    if text[fitting] == " ":
        return text[:fitting]
    space = text.rfind(" ", 0, fitting)
    return text[:space] if space > 0 else text[:fitting]


def _longest(text: str, font: Font, width: int) -> int:
    """How many characters of the text fit; at least one."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle]) <= width else (low, middle - 1)
    return low


def _cut(line: str, font: Font, width: int) -> str:
    while line and font.getlength(line + _ELLIPSIS) > width:
        line = line[:-1]
    return line.rstrip() + _ELLIPSIS
