from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from marble_reward_ocr import golden
from marble_reward_ocr.golden import TYPEFACES, Case, Drawing, cases, main, rate
from marble_reward_ocr.reader import TextReader


def text_read(reader: TextReader, drawing: Drawing) -> str:
    return "".join(reader.read(drawing.draw()))


@pytest.mark.parametrize("typeface", TYPEFACES)
def test_every_typeface_is_read(reader: TextReader, typeface: str) -> None:
    drawing = Drawing(("Exit 42",), typeface, side=128)
    assert text_read(reader, drawing).replace(" ", "") == "Exit42"


@pytest.mark.parametrize(
    "drawing",
    [
        Drawing(("Jazz",), side=256, size=14),
        Drawing(("Jazz",), side=256, size=32),
        Drawing(("Jazz",), side=256, angle=15),
        Drawing(("Jazz",), side=256, angle=45),
        Drawing(("Jazz",), side=128, style="outline"),
        Drawing(("Jazz",), side=128, style="faint", palette=1),
        Drawing(("Jazz",), side=128, style="gradient", palette=2),
        Drawing(("Jazz",), side=128, style="noise", palette=3),
        Drawing(("Jazz",), side=128),
        Drawing(("Jazz",), side=64),
    ],
)
def test_sizes_turns_and_styles(reader: TextReader, drawing: Drawing) -> None:
    assert text_read(reader, drawing) == "Jazz"


@pytest.mark.parametrize("text", ["Café Münster", "你好世界", "カフェ東京"])
def test_scripts_that_the_models_know(reader: TextReader, text: str) -> None:
    drawing = Drawing((text,), "WenQuanYi Micro Hei", side=128)
    assert text_read(reader, drawing).replace(" ", "") == text.replace(" ", "")


def test_scripts_that_they_do_not_know_are_not_read(reader: TextReader) -> None:
    assert text_read(reader, Drawing(("Москва",), "WenQuanYi Micro Hei", side=128)) != "Москва"


def test_a_drawing_is_the_same_on_every_call_and_fills_its_picture() -> None:
    drawing = Drawing(("Winter Sale",), side=128, style="noise", palette=1)
    picture = drawing.draw()
    assert picture.shape == (128, 128, 3)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, drawing.draw())
    plain = Drawing(("Winter Sale",), side=128).draw()
    columns = np.flatnonzero((plain != plain[0, 0]).any(axis=(0, 2)))
    assert 0.7 * 128 < columns[-1] - columns[0] < 0.85 * 128


def test_no_lines_are_an_empty_picture() -> None:
    picture = Drawing(()).draw()
    assert (picture == picture[0, 0]).all()


def test_a_wrong_letter_is_drawn_and_told(reader: TextReader) -> None:
    doubled = next(case for case in cases() if case.name == "a letter doubled")
    drawing, target = doubled.drawings[0]
    assert (drawing.lines, target) == (("OPPEN",), "OPEN")
    whole, score = rate(Case("", "", ((drawing, target),)), reader)
    assert (whole, score) == (0.0, 0.75)


def test_cases_are_named_once() -> None:
    names = [(case.group, case.name) for case in cases()]
    assert len(names) == len(set(names)) > 30
    assert all(case.drawings for case in cases())


def test_the_command_prints_tables_and_keeps_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = Case("side", "256 px", ((Drawing(("OPEN",), side=256), "OPEN"),))
    monkeypatch.setattr(golden, "cases", lambda: [few])
    monkeypatch.setattr(golden, "seconds", lambda reader, side: side / 1024)
    monkeypatch.setattr(sys, "argv", ["golden", "--save", str(tmp_path)])
    main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| side | 256 px | 1 | 100% | 1.000 |"
    assert lines[-3:] == ["| 512 px | 2.0 |", "| 256 px | 4.0 |", "| 32 px | 32.0 |"]
    assert [path.name for path in tmp_path.iterdir()] == ["side-256-px-0.png"]


@pytest.mark.slow
def test_the_tables_of_the_readme_hold(reader: TextReader) -> None:
    """All rows, each against the README's, at two digits."""
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    for case in cases():
        whole, score = rate(case, reader)
        row = f"| {case.group} | {case.name} | {len(case.drawings)} | {whole:.0%} | {score:.3f} |"
        assert row in readme
