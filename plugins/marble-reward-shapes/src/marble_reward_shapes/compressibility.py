"""Compressibility: how few bytes a JPEG of the image takes.

The reward of DDPO (Black et al., 2023), scaled: 1 for a blank image, 0 at one byte a pixel more.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_QUALITY = 90
_BYTES_PER_PIXEL = 1.0


def compressibility(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """uint8 [B, H, W, 3] -> [B] in [0, 1]."""
    blank = _jpeg_bytes(np.zeros_like(images[0]))
    pixels = images.shape[1] * images.shape[2]
    excess = np.array([_jpeg_bytes(image) - blank for image in images], dtype=float)
    return np.asarray(np.clip(1.0 - excess / (_BYTES_PER_PIXEL * pixels), 0.0, 1.0))


def _jpeg_bytes(image: NDArray[np.uint8]) -> int:
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, format="jpeg", quality=_QUALITY)
    return buffer.getbuffer().nbytes
