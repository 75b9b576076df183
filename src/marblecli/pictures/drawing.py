"""Draw a sheet: a title, sections of cells, and below each cell its caption.

A drawn picture has at most :data:`LIMIT` pixels. Images become smaller until it fits; the text
doesn't, so that it stays legible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from PIL import Image, ImageDraw

from marblecli.pictures.fonts import font_for
from marblecli.pictures.legend import Box
from marblecli.pictures.sheet import Cell, Drawn, Note, Section, Sheet, Tile
from marblecli.pictures.text import wrapped
from marblecli.pictures.tiles import SIDE, shown, shown_size

LIMIT = 4_000_000
"""Pixels of a picture, at most."""
_WIDTH = 1460
"""Pixels: a row has as many cells as fit; at least one."""
_SIDES = (SIDE, 256, 192, 128, 96, 64, 32)
"""The largest side of an image that is tried, one after the other."""
_MARGIN, _GAP, _BETWEEN = 28, 8, 36
"""Pixels around everything, between the images of a cell, and between cells."""
_NARROWEST = 300
"""Pixels of a cell, at least, for its caption."""
_TITLE, _HEADING, _CAPTION, _SMALL = 30, 24, 22, 18
"""Sizes of text in pixels."""
_PAPER, _INK, _FAINT, _RULE = "white", "#1f2328", "#59636e", "#d1d9e0"
_COLOURS = {"up": "#0550ae", "down": "#bc4c00", "none": _FAINT}
"""Blue and orange, which stay apart for the colour-blind."""
_CAPTION_LINES = 2


def draw(sheet: Sheet) -> Drawn:
    """The picture, of at most :data:`LIMIT` pixels.

    If it is too large even with small images, the last cells are left out, and the last heading
    says how many.
    """
    for side in _SIDES:
        layout = _Layout.of(sheet, side)
        if layout.pixels <= LIMIT:
            return layout.drawn()
    return draw(_shortened(sheet, LIMIT / layout.pixels))


def _shortened(sheet: Sheet, share: float) -> Sheet:
    """The sheet with that share of the last section's cells, or without an empty last section."""
    *before, last = sheet.sections
    if not last.cells:
        return replace(sheet, sections=tuple(before))
    kept = last.cells[: min(len(last.cells) - 1, int(len(last.cells) * share))]
    shorter = Section(last.heading, kept, last.left_out + len(last.cells) - len(kept))
    return replace(sheet, sections=(*before, shorter))


@dataclass(frozen=True)
class _Row:
    """Cells that stand side by side, with their prompts' lines."""

    cells: tuple[Cell, ...]
    captions: tuple[tuple[str, ...], ...]
    tile_height: int
    note_columns: int

    @property
    def height(self) -> int:
        lines = max(len(caption) for caption in self.captions)
        notes = max(-(-len(cell.notes) // self.note_columns) for cell in self.cells)
        return _line(_SMALL) + self.tile_height + 6 + lines * _line(_CAPTION) + notes * _line(20)


def _line(size: int) -> int:
    """The height of a line of text of that size."""
    return round(size * 1.3)


@dataclass(frozen=True)
class _Layout:
    """Where everything stands, for one size of images."""

    sheet: Sheet
    side: int
    """Pixels of an image's longest side, at most."""
    cell_width: int
    columns: int
    explanation: tuple[str, ...]
    title: tuple[str, ...]
    rows: tuple[tuple[_Row, ...], ...]
    """By section."""

    @classmethod
    def of(cls, sheet: Sheet, side: int) -> _Layout:
        widths = [_tiles_width(cell, side) for part in sheet.sections for cell in part.cells]
        cell_width = max([_NARROWEST, *widths])
        most = max((len(part.cells) for part in sheet.sections), default=0)
        fitting = (_WIDTH - 2 * _MARGIN + _BETWEEN) // (cell_width + _BETWEEN)
        # As few rows as fit, and then as few columns as these rows need: 4 cells are 2 + 2.
        columns = -(-most // -(-most // max(1, fitting))) if most else 1
        inner = max(columns * (cell_width + _BETWEEN) - _BETWEEN, 2 * _NARROWEST)
        return cls(
            sheet=sheet,
            side=side,
            cell_width=cell_width,
            columns=columns,
            title=wrapped(sheet.title, font_for(sheet.title, _TITLE), inner, 2),
            explanation=wrapped(sheet.explanation, font_for(sheet.explanation, _SMALL), inner, 4),
            rows=tuple(_rows(part.cells, columns, cell_width, side) for part in sheet.sections),
        )

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def width(self) -> int:
        inner = self.columns * (self.cell_width + _BETWEEN) - _BETWEEN
        return 2 * _MARGIN + max(inner, 2 * _NARROWEST)

    @property
    def height(self) -> int:
        head = len(self.title) * _line(_TITLE) + len(self.explanation) * _line(_SMALL)
        sections = sum(
            _BETWEEN + _line(_HEADING) + _GAP + sum(row.height + _BETWEEN // 2 for row in rows)
            for rows in self.rows
        )
        return 2 * _MARGIN + head + sections

    def drawn(self) -> Drawn:
        picture = Image.new("RGB", (self.width, self.height), _PAPER)
        pen = _Pen(picture)
        top = _MARGIN
        for line in self.title:
            top = pen.text((_MARGIN, top), line, _TITLE, _INK)
        for line in self.explanation:
            top = pen.text((_MARGIN, top), line, _SMALL, _FAINT)
        boxes: list[tuple[Box, ...]] = []
        for section, rows in zip(self.sheet.sections, self.rows, strict=True):
            pen.rule(top + _BETWEEN // 2, self.width)
            top = pen.text((_MARGIN, top + _BETWEEN), section.title, _HEADING, _INK) + _GAP
            for row in rows:
                boxes += self._draw_row(pen, row, top)
                top += row.height + _BETWEEN // 2
        return Drawn(picture, tuple(boxes))

    def _draw_row(self, pen: _Pen, row: _Row, top: int) -> list[tuple[Box, ...]]:
        boxes = []
        for column, (cell, caption) in enumerate(zip(row.cells, row.captions, strict=True)):
            left = _MARGIN + column * (self.cell_width + _BETWEEN)
            boxes.append(pen.tiles((left, top), cell.tiles, self.side))
            below = top + _line(_SMALL) + row.tile_height + 6
            for line in caption:
                below = pen.text((left, below), line, _CAPTION, _INK)
            width = self.cell_width // row.note_columns
            for number, note in enumerate(cell.notes):
                down, across = divmod(number, row.note_columns)
                pen.note((left + across * width, below + down * _line(20)), note, width - _BETWEEN)
        return boxes


@lru_cache(maxsize=10_000)
def _caption(text: str, width: int) -> tuple[str, ...]:
    return wrapped(text, font_for(text, _CAPTION), width, _CAPTION_LINES)


def _tiles_width(cell: Cell, side: int) -> int:
    return sum(shown_size(tile.image.size, side)[0] + _GAP for tile in cell.tiles) - _GAP


def _rows(cells: Sequence[Cell], columns: int, cell_width: int, side: int) -> tuple[_Row, ...]:
    parts = [tuple(cells[start : start + columns]) for start in range(0, len(cells), columns)]
    return tuple(
        _Row(
            cells=part,
            captions=tuple(_caption(cell.caption, cell_width) for cell in part),
            tile_height=max(
                shown_size(tile.image.size, side)[1] for cell in part for tile in cell.tiles
            ),
            note_columns=max(1, cell_width // _NARROWEST),
        )
        for part in parts
    )


class _Pen:
    """Draws on a picture."""

    def __init__(self, picture: Image.Image) -> None:
        self._picture = picture
        self._draw = ImageDraw.Draw(picture)

    def text(self, place: tuple[int, int], text: str, size: int, colour: str) -> int:
        """Write one line; returns the top of the next."""
        self._draw.text(place, text, fill=colour, font=font_for(text, size))
        return place[1] + _line(size)

    def rule(self, top: int, width: int) -> None:
        """A thin line from margin to margin."""
        self._draw.line((_MARGIN, top, width - _MARGIN, top), fill=_RULE)

    def tiles(self, place: tuple[int, int], tiles: Sequence[Tile], side: int) -> tuple[Box, ...]:
        """The images of a cell with their labels above; returns where they are."""
        left, top = place
        boxes = []
        for tile in tiles:
            below = self.text((left, top), tile.label, _SMALL, _INK)
            image = shown(tile.image, side)
            right, bottom = left + image.width, below + image.height
            self._picture.paste(image, (left, below))
            self._draw.rectangle((left - 1, below - 1, right, bottom), outline=_RULE)
            boxes.append((left, below, right, bottom))
            left = right + _GAP
        return tuple(boxes)

    def note(self, place: tuple[int, int], note: Note, width: int) -> None:
        """A name, at the right its value, and between them a triangle if there is a direction."""
        left, top = place
        right, colour = left + width, _COLOURS[note.direction]
        font = font_for(note.value, 20)
        value_left = right - round(font.getlength(note.value))
        name = wrapped(note.name, font_for(note.name, 20), value_left - left - 30, 1)
        self.text((left, top), "".join(name), 20, _INK)
        self.text((value_left, top), note.value, 20, colour)
        if note.direction != "none":
            self._draw.polygon(_triangle(value_left - 18, top + 6, note.direction), fill=colour)


def _triangle(left: int, top: int, direction: str) -> list[tuple[int, int]]:
    point, base = (top, top + 12) if direction == "up" else (top + 12, top)
    return [(left, base), (left + 12, base), (left + 6, point)]
