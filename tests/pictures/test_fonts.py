from __future__ import annotations

import pytest
from PIL import ImageFont

from marblecli.pictures import fonts


def pixels(font: fonts.Font, text: str) -> bytes:
    return bytes(font.getmask(text))


def test_plain_text_is_in_the_same_font_on_every_system(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*arguments: object) -> None:
        raise AssertionError("no font of the system is needed")

    monkeypatch.setattr(fonts, "_of_system", forbidden)
    assert fonts.font_for('a "red" square, +0.12', 20).getlength("a") > 0


def test_characters_that_pillows_font_lacks_are_seen() -> None:
    assert fonts._lacking(None, "plain text") == 0
    assert fonts._lacking(None, "été 中") == 3


def test_another_font_is_taken_for_them_only_if_it_lacks_fewer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = ImageFont.load_default(31)
    drawn = {None: "et", "poor": "e", "rich": "eté"}
    monkeypatch.setattr(fonts, "_OF_SYSTEMS", ("poor", "rich"))
    monkeypatch.setattr(fonts, "_draws", lambda name, letter: letter in drawn[name])
    monkeypatch.setattr(fonts, "_of_system", lambda name, size: other if name == "rich" else None)
    assert fonts.font_for("été", 20) is other
    assert fonts.font_for("et", 20) is not other


def test_a_system_without_fonts_still_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_of_system", lambda name, size: None)
    fonts._draws.cache_clear()
    assert pixels(fonts.font_for("中", 20), "中")
    fonts._draws.cache_clear()
