"""Which colour of the grammar a pixel shows, and the connected patches of each colour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from marble_reward_shapes.scenes import BACKGROUNDS, COLOURS, SHAPES

NAMES = (*COLOURS, *BACKGROUNDS)
_PALETTE = np.array([*COLOURS.values(), *BACKGROUNDS.values()], dtype=float)
MIN_AREA = 14
"""Patches of fewer pixels are edges or specks: the smallest shape drawn covers about 28."""


@dataclass(frozen=True)
class Patch:
    """One connected patch of a foreground colour."""

    colour: str
    area: int
    x: float
    y: float
    likeness: dict[str, float]
    """Intersection over union with each shape fitted to the patch's bounding box."""

    @property
    def shape(self) -> str:
        return max(self.likeness, key=lambda shape: self.likeness[shape])


def label_pixels(image: NDArray[np.uint8]) -> NDArray[np.intp]:
    """[H, W, 3] -> [H, W] of indices into ``NAMES``, the nearest palette colour in RGB."""
    distance = np.square(image[..., None, :].astype(float) - _PALETTE).sum(-1)
    return np.asarray(np.argmin(distance, axis=-1))


def find_patches(image: NDArray[np.uint8]) -> tuple[str, list[Patch]]:
    """The most frequent background colour, and every foreground patch of ``MIN_AREA`` or more."""
    labels = label_pixels(image)
    counts = np.bincount(labels.ravel(), minlength=len(NAMES))
    ground = NAMES[len(COLOURS) + int(np.argmax(counts[len(COLOURS) :]))]
    patches = []
    for index, colour in enumerate(COLOURS):
        if counts[index] < MIN_AREA:
            continue
        parts, _ = ndimage.label(labels == index)
        for number, box in enumerate(ndimage.find_objects(parts), 1):
            mask = parts[box] == number
            if mask.sum() >= MIN_AREA:
                patches.append(_describe(colour, mask, box))
    return ground, patches


def _describe(colour: str, mask: NDArray[np.bool_], box: tuple[slice, ...]) -> Patch:
    rows, columns = np.nonzero(mask)
    likeness = {}
    for shape in SHAPES:
        ideal = _ideal(shape, *mask.shape)
        likeness[shape] = float((mask & ideal).sum() / (mask | ideal).sum())
    return Patch(
        colour=colour,
        area=int(mask.sum()),
        x=float(columns.mean() + box[1].start),
        y=float(rows.mean() + box[0].start),
        likeness=likeness,
    )


def _ideal(shape: str, height: int, width: int) -> NDArray[np.bool_]:
    """The shape filling a box of that size."""
    rows, columns = np.mgrid[0:height, 0:width] + 0.5
    u, v = 2 * columns / width - 1, rows / height
    if shape == "circle":
        return np.asarray(np.square(u) + np.square(2 * v - 1) <= 1.0)
    if shape == "triangle":
        return np.asarray(np.abs(u) <= v)
    return np.ones((height, width), dtype=bool)
