from __future__ import annotations

import itertools

import numpy as np

from marble_reward_shapes.glyphs import LETTERS, glyph


def test_ten_letters_of_five_by_seven_dots() -> None:
    assert "".join(LETTERS) == "AEHILOTVXZ"
    for letter in LETTERS:
        assert glyph(letter).shape == (7, 5)
        assert set(np.unique(glyph(letter))) == {0.0, 1.0}


def test_any_two_letters_differ_in_several_dots() -> None:
    for one, two in itertools.combinations(LETTERS, 2):
        assert np.abs(glyph(one) - glyph(two)).sum() >= 4, (one, two)
