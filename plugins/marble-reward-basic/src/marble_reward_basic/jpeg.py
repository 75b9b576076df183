"""JPEG size, DDPO's reward (Black et al., 2023, arXiv 2305.13301): in kB at quality 95."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_QUALITY = 95


def jpeg_kilobytes(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """uint8 [B, H, W, 3] -> [B], a kB being 1000 bytes."""
    return np.array([_bytes(image) / 1000 for image in images])


def _bytes(image: NDArray[np.uint8]) -> int:
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=_QUALITY)
    return buffer.getbuffer().nbytes
