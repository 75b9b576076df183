"""Evenness: the background is one plain colour, without stains, tints or halos.

Every stroke and every object has an edge that may leave a halo. So this reward pulls mildly against
those that ask for objects and letters, as a reward of an image's fidelity does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GROUND = 60.0
"""A pixel belongs to the background if no channel is further than this from the median colour."""
_UNEVEN = 20.0
"""The background's deviation from the median colour that scores 0; both in 8 bits."""


def evenness(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """uint8 [B, H, W, 3] -> [B] in [0, 1], one less the background's deviation.

    A pixel's deviation is that of its worst channel; the background's is their root mean square.
    """
    pixels = images.astype(float)
    median = np.median(pixels.reshape(len(pixels), -1, 3), axis=1)
    away = np.abs(pixels - median[:, None, None]).max(axis=-1)
    ground = away <= _GROUND
    squares = np.where(ground, away**2, 0.0).sum(axis=(1, 2))
    deviation = np.sqrt(squares / np.maximum(ground.sum(axis=(1, 2)), 1))
    return np.asarray(np.clip(1.0 - deviation / _UNEVEN, 0.0, 1.0))
