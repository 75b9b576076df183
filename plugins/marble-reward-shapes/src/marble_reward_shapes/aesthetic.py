"""Aesthetic: colourfulness, contrast and balance.

The colourfulness is that of Hasler and Suesstrunk, "Measuring colourfulness in natural images"
(2003), eq. 1; the contrast is the standard deviation of luma (ITU-R BT.601); the balance is how
near the centre of visual weight lies to the centre of the image (Arnheim, "Art and Visual
Perception", 1954).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_VIVID = 150.0
"""Colourfulness that counts as 1; the authors call 109 "extremely colourful"."""
_STARK = 128.0
_WEIGHTLESS = 1e-6
"""Added to the visual weight, so that a blank image is balanced."""


def aesthetic(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """uint8 [B, H, W, 3] -> [B] in [0, 1]: the mean of the three parts."""
    pixels = images.astype(float)
    return (colourfulness(pixels) + contrast(pixels) + balance(pixels)) / 3


def colourfulness(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """RGB in [0, 255], [B, H, W, 3] -> [B] in [0, 1]."""
    red, green, blue = np.moveaxis(pixels.reshape(len(pixels), -1, 3), -1, 0)
    opponent = np.stack([red - green, 0.5 * (red + green) - blue])
    spread = np.linalg.norm(opponent.std(axis=-1), axis=0)
    offset = np.linalg.norm(opponent.mean(axis=-1), axis=0)
    return np.asarray(np.clip((spread + 0.3 * offset) / _VIVID, 0.0, 1.0))


def contrast(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """RGB in [0, 255], [B, H, W, 3] -> [B] in [0, 1]."""
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    return np.asarray(np.clip(luma.std(axis=(1, 2)) / _STARK, 0.0, 1.0))


def balance(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """RGB, [B, H, W, 3] -> [B] in [0, 1]: 1 where the visual weight is centred, 0 at an edge.

    A pixel weighs as much as it differs from the image's median colour.
    """
    count, height, width, _ = pixels.shape
    ground = np.median(pixels.reshape(count, -1, 3), axis=1)
    weight = np.linalg.norm(pixels - ground[:, None, None], axis=-1)
    rows = np.linspace(-1.0, 1.0, height)[:, None]
    columns = np.linspace(-1.0, 1.0, width)
    total = weight.sum(axis=(1, 2)) + _WEIGHTLESS
    offset = np.hypot((weight * rows).sum((1, 2)) / total, (weight * columns).sum((1, 2)) / total)
    return np.asarray(1.0 - np.clip(offset, 0.0, 1.0))
