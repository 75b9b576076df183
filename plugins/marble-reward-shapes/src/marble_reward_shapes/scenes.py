"""The scene grammar: what can be asked for, in words, and how such a scene looks.

Three kinds of prompt, each with the metadata that its rewards need:

=========  ==================================================  =====================
kind       example                                             rewards that apply
=========  ==================================================  =====================
count      ``two red circles on gray``                         all but letters
position   ``a red square left of a blue triangle on black``   all but letters
text       ``the text "HI" in red on white``                   all but composition
=========  ==================================================  =====================

Pure functions of a seeded generator; no model, no file.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marble_reward_shapes.glyphs import LETTERS, glyph

SIZE = 32
"""Side of a scene in pixels."""

COLOURS: Mapping[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (30, 160, 70),
    "blue": (50, 80, 225),
    "yellow": (240, 205, 40),
}
BACKGROUNDS: Mapping[str, tuple[int, int, int]] = {
    "black": (12, 12, 12),
    "gray": (128, 128, 128),
    "white": (242, 242, 242),
}
SHAPES = ("circle", "square", "triangle")
COUNT_WORDS = {1: "a", 2: "two", 3: "three"}
RELATIONS = ("left of", "right of", "above", "below")
KINDS = ("count", "position", "text")

Image = NDArray[np.uint8]
"""One RGB image, uint8 [SIZE, SIZE, 3]."""


@dataclass(frozen=True)
class Group:
    """``count`` objects of one shape and colour."""

    shape: str
    colour: str
    count: int


@dataclass(frozen=True)
class Scene:
    """What a prompt asks for; ``groups`` is empty for a text scene and ``text`` for the others."""

    background: str
    groups: tuple[Group, ...] = ()
    relation: str = ""
    text: str = ""
    ink: str = ""

    @property
    def kind(self) -> str:
        if self.text:
            return "text"
        return "position" if self.relation else "count"

    @property
    def colours(self) -> tuple[str, ...]:
        """The foreground colours asked for, in the order of the prompt."""
        return (self.ink,) if self.text else tuple(group.colour for group in self.groups)

    @property
    def prompt(self) -> str:
        if self.text:
            return f'the text "{self.text}" in {self.ink} on {self.background}'
        phrases = [_phrase(group) for group in self.groups]
        return f" {self.relation} ".join(phrases) + f" on {self.background}"

    def metadata(self) -> dict[str, Any]:
        """The JSON fields that accompany the prompt in a ``.jsonl`` source."""
        fields: dict[str, Any] = {
            "prompt": self.prompt,
            "background": self.background,
            "colours": list(self.colours),
        }
        if self.text:
            return {**fields, "text": self.text}
        objects = [{"shape": g.shape, "colour": g.colour, "count": g.count} for g in self.groups]
        return {**fields, "objects": objects, "relation": self.relation}


def _phrase(group: Group) -> str:
    plural = "s" if group.count > 1 else ""
    return f"{COUNT_WORDS[group.count]} {group.colour} {group.shape}{plural}"


def count_scenes() -> Iterator[Scene]:
    """All scenes of one to three like objects: 108."""
    for count, shape, colour, ground in itertools.product(
        COUNT_WORDS, SHAPES, COLOURS, BACKGROUNDS
    ):
        yield Scene(ground, (Group(shape, colour, count),))


def position_scenes() -> Iterator[Scene]:
    """All scenes of two objects of different colours in a relation: 1296."""
    for relation, ground in itertools.product(RELATIONS, BACKGROUNDS):
        for first, second in itertools.permutations(COLOURS, 2):
            for one, two in itertools.product(SHAPES, repeat=2):
                yield Scene(ground, (Group(one, first, 1), Group(two, second, 1)), relation)


def text_scenes() -> Iterator[Scene]:
    """All scenes of two letters in one ink: 1200."""
    for pair, ink, ground in itertools.product(
        itertools.product(LETTERS, repeat=2), COLOURS, BACKGROUNDS
    ):
        yield Scene(ground, text="".join(pair), ink=ink)


ALL_SCENES: Mapping[str, tuple[Scene, ...]] = {
    "count": tuple(count_scenes()),
    "position": tuple(position_scenes()),
    "text": tuple(text_scenes()),
}


def random_scene(rng: np.random.Generator, kind: str) -> Scene:
    """One scene of ``kind``, uniformly."""
    scenes = ALL_SCENES[kind]
    return scenes[int(rng.integers(len(scenes)))]


def render(scene: Scene, rng: np.random.Generator) -> Image:
    """Draw the scene; what the prompt leaves open (sizes, places) is drawn from ``rng``."""
    canvas = np.empty((SIZE, SIZE, 3))
    canvas[:] = BACKGROUNDS[scene.background]
    if scene.text:
        _blend(canvas, _text_mask(scene.text, rng), COLOURS[scene.ink])
    else:
        places = _related_places(scene.relation, rng) if scene.relation else None
        members = [group for group in scene.groups for _ in range(group.count)]
        for group, (x, y, radius) in zip(
            members, places or _free_places(len(members), rng), strict=True
        ):
            _blend(canvas, shape_mask(group.shape, x, y, radius), COLOURS[group.colour])
    return np.round(canvas).astype(np.uint8)


def shape_mask(shape: str, x: float, y: float, radius: float) -> NDArray[np.float64]:
    """Coverage in [0, 1], [SIZE, SIZE], of a shape centred at (x, y) with one-pixel soft edges."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    dx, dy = columns - x, rows - y
    if shape == "circle":
        distance = np.hypot(dx, dy) - radius
    elif shape == "square":
        distance = np.maximum(np.abs(dx), np.abs(dy)) - 0.9 * radius
    else:
        slope = (2 * np.abs(dx) - dy - radius) / np.sqrt(5)
        distance = np.maximum(slope, dy - radius)
    return np.asarray(np.clip(0.5 - distance, 0.0, 1.0))


def _blend(canvas: NDArray[Any], mask: NDArray[Any], colour: tuple[int, int, int]) -> None:
    canvas += mask[..., None] * (np.array(colour) - canvas)


def _free_places(count: int, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """Places (x, y, radius) that don't touch, by rejection."""
    while True:
        radii = rng.uniform(4.2, 5.6, count)
        places = [(*rng.uniform(r + 1.0, SIZE - r - 1.0, 2), float(r)) for r in radii]
        if all(
            max(abs(a[0] - b[0]), abs(a[1] - b[1])) > a[2] + b[2] + 1.5
            for a, b in itertools.combinations(places, 2)
        ):
            return places


def _related_places(relation: str, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """Two places, the first left of, right of, above or below the second."""
    along = np.array([rng.uniform(7.0, 10.0), rng.uniform(22.0, 25.0)])
    across = SIZE / 2 + rng.uniform(-4.0, 4.0) + rng.uniform(-1.5, 1.5, 2)
    radii = rng.uniform(4.4, 5.8, 2)
    if relation in ("right of", "below"):
        along = along[::-1]
    pairs = zip(along, across, radii, strict=True)
    if relation in ("left of", "right of"):
        return [(float(a), float(c), float(r)) for a, c, r in pairs]
    return [(float(c), float(a), float(r)) for a, c, r in pairs]


def _text_mask(text: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """The two letters, doubled, near the centre: [SIZE, SIZE] of 0 and 1."""
    mask = np.zeros((SIZE, SIZE))
    gap = 2
    letters = [np.kron(glyph(letter), np.ones((2, 2))) for letter in text]
    height, width = letters[0].shape
    left = (SIZE - len(letters) * width - gap) // 2 + int(rng.integers(-2, 3))
    top = (SIZE - height) // 2 + int(rng.integers(-3, 4))
    for index, letter in enumerate(letters):
        start = left + index * (width + gap)
        mask[top : top + height, start : start + width] = letter
    return mask
