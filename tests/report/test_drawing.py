from __future__ import annotations

import re
import subprocess
import sys
from xml.etree import ElementTree as ET

from matplotlib.figure import Figure

from marblecli.report.drawing import INK, SERIES, WIDTH, draw
from support.svg import elements, texts

STRANGE = "<b> & $x_1$ #000001 1.23456"


def line(text: str = "hello", colour: str = INK) -> str:
    def fill(figure: Figure) -> None:
        axes = figure.add_axes((0.1, 0.1, 0.8, 0.8))
        axes.plot([0, 1, 2], [0.123456, 1.0, 0.5], color=colour, marker="o")
        figure.text(0.5, 0.5, text)

    return draw(200, "A title", f"About {text}", fill)


def test_the_figure_is_an_svg_that_scales_and_is_as_wide_as_a_phone() -> None:
    (root,) = elements(line(), "svg")
    assert root.get("width") is None
    view = [float(number) for number in (root.get("viewBox") or "").split()]
    assert view == [0, 0, WIDTH * 0.75, 150]


def test_screen_readers_are_told_what_it_shows() -> None:
    (root,) = elements(line(STRANGE), "svg")
    assert root.get("role") == "img"
    assert root.get("aria-label") == f"A title. About {STRANGE}"
    assert [each.text for each in elements(line(), "title")] == ["A title"]


def test_colours_are_the_pages_own() -> None:
    svg = line(colour=SERIES[1])
    assert "var(--series-2)" in svg
    assert "var(--ink)" in line()
    assert not re.search(r"#0000[01]\d", svg)


def test_texts_stay_as_they_are_and_cannot_break_the_page() -> None:
    svg = line(STRANGE)
    assert STRANGE in texts(svg)
    assert "<b>" not in svg


def test_it_needs_nothing_else_and_styles_nothing_else() -> None:
    svg = line()
    assert not elements(svg, "metadata")
    assert not elements(svg, "style")
    links = set(re.findall(r"https?://[^\"]+", svg))
    assert links == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_every_reference_has_its_target_and_every_id_is_referred_to() -> None:
    svg = line()
    ids = [each.get("id") for each in ET.fromstring(svg).iter() if each.get("id")]  # noqa: S314 - made here
    assert sorted(ids) == sorted(set(re.findall(r"#([\w-]+)[\")]", svg)))


def test_figures_of_different_titles_share_no_id() -> None:
    def named(title: str) -> set[str]:
        def fill(figure: Figure) -> None:
            figure.add_axes((0.1, 0.1, 0.8, 0.8)).plot([0, 1], [0, 1], marker="o")

        svg = draw(100, title, "", fill)
        return set(re.findall(r'\sid="([^"]*)"', svg))

    assert named("one")
    assert not named("one") & named("two")


def test_the_same_figure_is_the_same_text() -> None:
    assert line() == line()


def test_matplotlib_is_only_loaded_to_draw() -> None:
    code = "import marblecli.report.curves, marblecli.report.charts, sys; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "matplotlib" not in shown.stdout.split()
