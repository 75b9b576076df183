"""Cleanness: plain surfaces and steep edges, with few half-tones between them.

Two neighbouring pixels of a clean drawing are nearly equal, or an edge lies between them. Pairs
that are neither belong to stains, fringes and soft edges. Every stroke has edges, so a text that
can be read has more of them than a blank image has: this reward pulls against the others, but not
hopelessly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_PLAIN = 6
"""The largest difference of a channel, in 8 bits, between two pixels of one surface."""
_EDGE = 60
"""The least difference of a channel at a steep edge."""


def cleanness(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """uint8 [B, H, W, 3] -> [B] in [0, 1]: the square of the share of pairs without a half-tone.

    Both pixels of a pair are in one row or in one column. The square spreads the shares, which lie
    between 0.7 and 1 for a drawing.
    """
    pixels = images.astype(int)
    shares = [_clean_share(np.abs(np.diff(pixels, axis=axis)).max(axis=-1)) for axis in (1, 2)]
    return np.asarray(np.mean(shares, axis=0) ** 2)


def _clean_share(steps: NDArray[np.int_]) -> NDArray[np.float64]:
    """The share [B] of the steps [B, h, w] between pixels that are no half-tone."""
    return np.asarray(((steps <= _PLAIN) | (steps >= _EDGE)).mean(axis=(1, 2)))
