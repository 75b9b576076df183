"""What a picture of a run shows, in words and numbers: its alt text and its captions' data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels; right and bottom are outside."""
_SPLITS = {"train": "training prompt", "held-out": "held-out prompt"}


def split_name(split: str) -> str:
    """What a prompt of the split is called."""
    return _SPLITS.get(split, f"prompt of {split}")


@dataclass(frozen=True)
class Scores:
    """One reward of a base image and of the trained model's image from the same noise."""

    base: float | None = None
    now: float | None = None

    @property
    def change(self) -> float | None:
        """``now - base``; None if one of them has no score."""
        return None if self.base is None or self.now is None else self.now - self.base


@dataclass(frozen=True)
class LegendCell:
    """One prompt of a picture."""

    prompt: str
    source: str
    split: str
    place: int = 0
    """The prompt's place in its split."""
    number: int = 0
    """The image's number among those of its prompt."""
    rewards: Mapping[str, Scores] = field(default_factory=dict)
    change: float | None = None
    """Mean over rewards of the change, in standard deviations of the base model's scores."""
    base: Box | None = None
    """Where the base model's image stands: left, top, right, bottom in pixels."""
    now: Box | None = None
    """Where the trained model's image stands."""

    @property
    def alt(self) -> str:
        """The caption as a sentence."""
        changes = [
            f"{name} {scores.change:+.3f}"
            for name, scores in self.rewards.items()
            if scores.change is not None
        ]
        told = f": {', '.join(changes)}" if changes else ""
        return f"{split_name(self.split)} “{self.prompt}”{told}"


@dataclass(frozen=True)
class Picture:
    """One picture of a run."""

    step: int
    kind: Literal["prompts", "changed", "grid"]
    """``prompts``: some prompts by a fixed rule; ``changed``: the images that changed most;
    ``grid``: all images of a split, as older runs have them."""
    title: str
    cells: tuple[LegendCell, ...]
    path: Path

    @property
    def alt(self) -> str:
        """All captions, as a text for those who don't see the picture."""
        return f"{self.title}. " + "; ".join(dict.fromkeys(cell.alt for cell in self.cells))
