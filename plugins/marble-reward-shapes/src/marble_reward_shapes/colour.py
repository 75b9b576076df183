"""Colour: does the image keep to the colours asked for, and show each of them?

Needs the metadata fields ``background`` and ``colours``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marble_reward_shapes.scenes import BACKGROUNDS, COLOURS

_TOLERANCE = 40.0
"""RGB distance from the wanted colours at which a pixel's purity has fallen to 1/e."""
_ENOUGH = 24.0
"""Pixels of a colour that count as showing it."""


def colour_match(
    images: NDArray[np.uint8], metadata: Sequence[Mapping[str, Any]]
) -> NDArray[np.float64]:
    """uint8 [B, H, W, 3] -> [B] in [0, 1]: mean purity times the share of colours shown."""
    pairs = zip(images, metadata, strict=True)
    return np.array([_score(image.reshape(-1, 3).astype(float), wanted) for image, wanted in pairs])


def _score(pixels: NDArray[np.float64], wanted: Mapping[str, Any]) -> float:
    ground = np.array(BACKGROUNDS[wanted["background"]], dtype=float)
    inks = [np.array(COLOURS[name], dtype=float) for name in dict.fromkeys(wanted["colours"])]
    # Soft edges blend an ink with the ground, so the wanted colours are segments, not points.
    distance = np.min([_to_segment(pixels, ground, ink) for ink in inks], axis=0)
    purity = np.exp(-np.square(distance / _TOLERANCE)).mean()
    away = [np.linalg.norm(pixels - ink, axis=1) for ink in inks]
    shown = np.exp(-np.square(np.array(away) / _TOLERANCE)).sum(axis=1)
    return float(purity * np.mean(np.minimum(shown / _ENOUGH, 1.0)))


def _to_segment(
    pixels: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]
) -> NDArray[np.float64]:
    way = end - start
    along = np.clip((pixels - start) @ way / (way @ way), 0.0, 1.0)
    return np.asarray(np.linalg.norm(pixels - start - along[:, None] * way, axis=1))
