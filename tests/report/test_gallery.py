from __future__ import annotations

from base64 import b64decode
from dataclasses import replace

from marblecli.report.gallery import Exhibit, Gallery
from support.run_data import frame, gallery


def test_an_image_is_its_own_address() -> None:
    kind, data = frame().uri.split(";base64,")
    assert kind == "data:image/png"
    assert b64decode(data) == frame().data


def test_pixels_of_small_images_are_to_be_seen() -> None:
    assert frame().small
    assert not replace(frame(), width=512).small


def test_the_steps_are_those_of_all_exhibits() -> None:
    more = Exhibit("", "", None, {20: frame(), 1: frame()})
    assert gallery().steps == (5, 10)
    assert Gallery("", "", (*gallery().exhibits, more)).steps == (1, 5, 10, 20)
