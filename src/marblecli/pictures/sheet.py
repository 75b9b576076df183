"""What a picture of several images holds, before it is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from PIL import Image

from marblecli.pictures.legend import Box


@dataclass(frozen=True)
class Tile:
    """One image and what it is called."""

    label: str
    image: Image.Image


@dataclass(frozen=True)
class Note:
    """A name with a value, in a caption."""

    name: str
    value: str
    direction: Literal["up", "down", "none"] = "none"
    """``up`` and ``down`` are marked by a triangle and by colour."""


@dataclass(frozen=True)
class Cell:
    """Images that stand side by side, and their caption."""

    tiles: tuple[Tile, ...]
    caption: str
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Section:
    """Cells below a heading."""

    heading: str
    cells: tuple[Cell, ...]
    left_out: int = 0
    """How many more cells there would be; the heading says so."""

    @property
    def title(self) -> str:
        """The heading as it is drawn."""
        if not self.left_out:
            return self.heading
        return f"{self.heading} ({self.left_out} more aren't shown)"


@dataclass(frozen=True)
class Sheet:
    """A whole picture."""

    title: str
    explanation: str
    sections: tuple[Section, ...]


@dataclass(frozen=True)
class Drawn:
    """A picture, and where each image of each cell stands in it."""

    image: Image.Image
    boxes: tuple[tuple[Box, ...], ...]
    """By cell, through all sections in order, the box of each of its tiles."""
