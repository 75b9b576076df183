"""Ten letters in a 5 x 7 dot font, chosen to be told apart at 10 x 14 pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ROWS = {
    "A": "01110 10001 10001 11111 10001 10001 10001",
    "E": "11111 10000 10000 11110 10000 10000 11111",
    "H": "10001 10001 10001 11111 10001 10001 10001",
    "I": "11111 00100 00100 00100 00100 00100 11111",
    "L": "10000 10000 10000 10000 10000 10000 11111",
    "O": "01110 10001 10001 10001 10001 10001 01110",
    "T": "11111 00100 00100 00100 00100 00100 00100",
    "V": "10001 10001 10001 10001 01010 01010 00100",
    "X": "10001 01010 01010 00100 01010 01010 10001",
    "Z": "11111 00001 00010 00100 01000 10000 11111",
}

LETTERS = tuple(_ROWS)


def glyph(letter: str) -> NDArray[np.float64]:
    """The letter's dots, [7, 5] of 0 and 1."""
    return np.array([[float(dot) for dot in row] for row in _ROWS[letter].split()])
