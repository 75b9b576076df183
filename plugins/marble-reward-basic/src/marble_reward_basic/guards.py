"""Guards: 1 while a statistic of the image stays within natural bounds, less outside them.

They ask for nothing, so they teach nothing while all is well; a learned reward that is being
hacked by oversharpening, noise, blur or garish colour meets them. Outside, the score is the ratio
of the bound and the statistic: half at twice the upper bound or half the lower one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""uint8 [B, H, W, 3]."""
Values = NDArray[np.float64]
"""[B]."""

_LUMA = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601."""


def within(values: Values, low: float, high: float) -> Values:
    """[B], not negative -> [B] in [0, 1]: 1 from ``low`` to ``high``; ``low`` may be 0."""
    below = values / low if low > 0 else np.ones_like(values)
    above = high / np.maximum(values, high)
    return np.minimum(np.minimum(below, above), 1.0)


def sharpness(images: Pixels) -> Values:
    """Deviation of luma's Laplacian over that of luma: 0 if flat, sqrt(20) for white noise.

    Images of at least 3 x 3 pixels. Independent of brightness and contrast, and nearly of
    resolution: an amplitude spectrum of 1/f gives 1.7 at 256, 512 and 1024 pixels.
    """
    luma = images @ _LUMA
    centre = luma[:, 1:-1, 1:-1]
    laplacian = (
        4 * centre - luma[:, :-2, 1:-1] - luma[:, 2:, 1:-1] - luma[:, 1:-1, :-2] - luma[:, 1:-1, 2:]
    )
    spread = luma.std(axis=(1, 2))
    # Less than a hundredth of a grey level is rounding: such an image is flat.
    flat = spread < 0.01
    return np.where(flat, 0.0, laplacian.std(axis=(1, 2)) / np.where(flat, 1.0, spread))


def contrast(images: Pixels) -> Values:
    """Deviation of luma, in grey levels: 0 if flat, 127.5 for black and white halves."""
    return np.asarray((images @ _LUMA).std(axis=(1, 2)))


def colourfulness(images: Pixels) -> Values:
    """Hasler and Suesstrunk, "Measuring colourfulness in natural images" (2003), eq. 1.

    0 for a grey image; the authors call 33 moderately, 59 quite and 109 extremely colourful.
    """
    red, green, blue = np.moveaxis(images.reshape(len(images), -1, 3).astype(float), -1, 0)
    opponents = np.stack([red - green, 0.5 * (red + green) - blue])
    spread = np.linalg.norm(opponents.std(axis=-1), axis=0)
    offset = np.linalg.norm(opponents.mean(axis=-1), axis=0)
    return np.asarray(spread + 0.3 * offset)
