"""Aesthetic: colourfulness and contrast.

The colourfulness is that of Hasler and Suesstrunk, "Measuring colourfulness in natural images"
(2003), eq. 1; the contrast is the standard deviation of luma (ITU-R BT.601).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_VIVID = 150.0
"""Colourfulness that counts as 1; the authors call 109 "extremely colourful"."""
_STARK = 128.0


def aesthetic(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """uint8 [B, H, W, 3] -> [B] in [0, 1]: the mean of scaled colourfulness and contrast."""
    red, green, blue = np.moveaxis(images.reshape(len(images), -1, 3).astype(float), -1, 0)
    opponent = np.stack([red - green, 0.5 * (red + green) - blue])
    spread = np.linalg.norm(opponent.std(axis=-1), axis=0)
    offset = np.linalg.norm(opponent.mean(axis=-1), axis=0)
    colourfulness = np.clip((spread + 0.3 * offset) / _VIVID, 0.0, 1.0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    contrast = np.clip(luma.std(axis=-1) / _STARK, 0.0, 1.0)
    return np.asarray((colourfulness + contrast) / 2)
