"""Images of a run's prompts, step by step, as the page shows them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass

_SMALL = 200
"""Pixels: the separate pixels of narrower images are to be seen, instead of being blurred."""


@dataclass(frozen=True)
class Frame:
    """One image as a file, and what is said below it."""

    data: bytes
    kind: str
    """The media type, such as ``image/png``."""
    width: int
    height: int
    """Pixels."""
    notes: tuple[tuple[str, str], ...] = ()
    """The changes of its scores since the base model: (reward, change)."""

    @property
    def uri(self) -> str:
        """The image as an address that needs no other file."""
        return f"data:{self.kind};base64,{b64encode(self.data).decode('ascii')}"

    @property
    def small(self) -> bool:
        """Whether the image is so small that its pixels are to be seen."""
        return self.width < _SMALL


@dataclass(frozen=True)
class Exhibit:
    """One prompt, by the base model and at several steps, each from the same noise."""

    caption: str
    """The prompt."""
    group: str
    """What kind of prompt it is."""
    base: Frame | None
    frames: Mapping[int, Frame]
    """By step."""


@dataclass(frozen=True)
class Gallery:
    """Exhibits that go through their steps together."""

    title: str
    text: str
    exhibits: tuple[Exhibit, ...]

    @property
    def steps(self) -> tuple[int, ...]:
        """Every step that some exhibit has an image of, in order."""
        return tuple(sorted({step for each in self.exhibits for step in each.frames}))
