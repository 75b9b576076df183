"""Letters: can the two letters asked for be read?

Template correlation, as the simplest reader of a fixed font: each letter's window is compared
with all ten glyphs at every place where the grammar may put it.
Needs the metadata fields ``background``, ``colours`` and ``text``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from marble_reward_shapes.glyphs import LETTERS, glyph
from marble_reward_shapes.scenes import BACKGROUNDS, COLOURS

_HEIGHT, _WIDTH = 16, 12
_TOPS = slice(3, 14)
_LEFTS = (slice(0, 9), slice(12, 21))
_LEGIBLE = 0.7
"""Least correlation at which a letter counts as read."""
_MARGIN_SLOPE = 2.0


def _templates() -> NDArray[np.float64]:
    """[letters, HEIGHT * WIDTH], zero mean and unit norm: a doubled glyph in a one-pixel frame."""
    frames = [np.pad(np.kron(glyph(letter), np.ones((2, 2))), 1).ravel() for letter in LETTERS]
    centred = np.array(frames) - np.mean(frames, axis=1, keepdims=True)
    return np.asarray(centred / np.linalg.norm(centred, axis=1, keepdims=True))


_TEMPLATES = _templates()


def soft_letters(
    images: NDArray[np.uint8], metadata: Sequence[Mapping[str, Any]]
) -> NDArray[np.float64]:
    """uint8 [B, H, W, 3] -> [B] in [0, 1]: correlation times margin over the next best letter.

    A stroke that looks like several letters at once has no margin and earns little.
    """
    scores = []
    for image, wanted in zip(images, metadata, strict=True):
        correlations = _read(image, wanted)
        letters = [_letter_score(c, w) for c, w in zip(correlations, wanted["text"], strict=True)]
        scores.append(np.mean(letters))
    return np.array(scores)


def strict_letters(
    images: NDArray[np.uint8], metadata: Sequence[Mapping[str, Any]]
) -> NDArray[np.float64]:
    """uint8 [B, H, W, 3] -> [B] of 1 where both letters are read as the ones asked for."""
    scores = []
    for image, wanted in zip(images, metadata, strict=True):
        correlations = _read(image, wanted)
        text = "".join(LETTERS[int(np.argmax(row))] for row in correlations)
        scores.append(float(text == wanted["text"] and correlations.max(axis=1).min() > _LEGIBLE))
    return np.array(scores)


def _letter_score(correlations: NDArray[np.float64], wanted: str) -> float:
    index = LETTERS.index(wanted)
    margin = correlations[index] - np.delete(correlations, index).max()
    likeness = np.clip(correlations[index], 0.0, 1.0)
    return float(likeness * np.clip(0.5 + _MARGIN_SLOPE * margin, 0.0, 1.0))


def _read(image: NDArray[np.uint8], wanted: Mapping[str, Any]) -> NDArray[np.float64]:
    """Best correlation of each of the two places with each letter, [2, letters]."""
    ink = _ink(image, wanted["background"], wanted["colours"][0])
    windows = sliding_window_view(ink, (_HEIGHT, _WIDTH))[_TOPS]
    return np.stack([_correlate(windows[:, lefts]) for lefts in _LEFTS])


def _ink(image: NDArray[np.uint8], ground: str, ink: str) -> NDArray[np.float64]:
    """How far each pixel is on the way from the ground to the ink, [H, W] in [0, 1]."""
    base = np.array(BACKGROUNDS[ground], dtype=float)
    way = np.array(COLOURS[ink], dtype=float) - base
    return np.asarray(np.clip((image - base) @ way / (way @ way), 0.0, 1.0))


def _correlate(windows: NDArray[np.float64]) -> NDArray[np.float64]:
    """[tops, lefts, HEIGHT, WIDTH] -> [letters]: the best over places."""
    flat = windows.reshape(-1, _HEIGHT * _WIDTH)
    centred = flat - flat.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    # A window without contrast correlates with nothing.
    return np.asarray((centred @ _TEMPLATES.T / np.maximum(norms, 0.5)).max(axis=0))
