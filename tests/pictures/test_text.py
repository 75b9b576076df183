from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageFont

from marblecli.pictures.text import wrapped

FONT = ImageFont.load_default(20)
WORDS = st.text(st.sampled_from("abc WMi-"), max_size=80)


@given(WORDS, st.integers(80, 400), st.integers(1, 3))
def test_every_line_fits_and_no_word_is_lost_unless_an_ellipsis_says_so(
    text: str, width: int, lines: int
) -> None:
    found = wrapped(text, FONT, width, lines)
    assert len(found) <= lines
    assert all(FONT.getlength(line) <= width for line in found)
    letters = "".join(found).replace(" ", "")
    whole = "".join(text.split())
    assert letters == whole or (letters.endswith("...") and whole.startswith(letters[:-3]))


@pytest.mark.parametrize(
    ("text", "width", "lines", "wanted"),
    [
        ("", 100, 2, ()),
        ("a red square", 1000, 2, ("a red square",)),
        ("a red\nsquare", 1000, 2, ("a red square",)),
        ("aaa bbb", round(FONT.getlength("aaa b")), 2, ("aaa", "bbb")),
        ("aaa bbb ccc ddd", round(FONT.getlength("aaa bbb...")), 1, ("aaa bbb...",)),
    ],
)
def test_lines_break_between_words(
    text: str, width: int, lines: int, wanted: tuple[str, ...]
) -> None:
    assert wrapped(text, FONT, width, lines) == wanted
