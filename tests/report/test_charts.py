from __future__ import annotations

import re
from importlib.resources import files

import pytest

from marblecli.report.charts import (
    STRONGEST,
    Cell,
    Row,
    amount_rows,
    cosine_rows,
    matrix,
    wrap_name,
)
from support.svg import elements, texts


def test_every_row_says_its_name_and_its_mean() -> None:
    svg = cosine_rows("Cosines", [Row("ocr - aes", [-1.0, None, 0.5])], [3, 4, 7])
    assert {"ocr - aes", "-0.25", "step 3", "step 7", "-1", "0", "+1"} <= set(texts(svg))
    assert "ocr - aes: mean -0.25" in (elements(svg, "svg")[0].get("aria-label") or "")


def test_conflict_is_hatched_and_agreement_is_not() -> None:
    agreeing = cosine_rows("Cosines", [Row("a", [0.5, 0.25])], [1, 2])
    fighting = cosine_rows("Cosines", [Row("a", [0.5, -0.25])], [1, 2])
    assert not elements(agreeing, "pattern")
    assert elements(fighting, "pattern")


def test_bars_are_as_high_as_their_values() -> None:
    """The scale is 30 CSS pixels from -1 to 1, which is 22.5 points."""
    svg = cosine_rows("Cosines", [Row("a", [1.0, 0.5])], [1, 2])
    (bars,) = (e for e in elements(svg, "path") if "--positive" in (e.get("style") or ""))
    heights = [float(y) for y in re.findall(r"[ML] [\d.]+ ([\d.]+)", bars.get("d") or "")]
    base, top = max(heights), min(heights)
    assert base - top == pytest.approx(11.25, abs=0.02)
    assert sorted({round(base - height, 1) for height in heights}) == pytest.approx(
        [0.0, 5.6, 11.2], abs=0.11
    )


def test_many_steps_share_bars_and_none_is_lost() -> None:
    values = [float(step) for step in range(1000)]
    short = amount_rows("Amounts", [Row("a", values[:100])], list(range(100)))
    long = amount_rows("Amounts", [Row("a", values)], list(range(1000)))
    assert "500" in " ".join(texts(long))
    assert len(long) < 1.5 * len(short)


@pytest.mark.parametrize("values", [[0.0, 0.0], [None, None], [-0.2, 0.4], [1e-9, 2e-9]])
def test_any_values_can_be_drawn(values: list[float | None]) -> None:
    for draw in (amount_rows, cosine_rows):
        assert "a" in texts(draw("Title", [Row("a", values)], [1, 2]))


def test_a_long_name_is_cut_in_its_row_and_whole_in_the_description() -> None:
    name = "x" * 80
    svg = cosine_rows("Cosines", [Row(name, [0.5])], [1])
    assert not any(len(text) > 50 for text in texts(svg))
    assert name in (elements(svg, "svg")[0].get("aria-label") or "")


def test_the_matrix_shows_every_cell_in_its_place() -> None:
    cells = {(0, 0): Cell(1.0, "+1.00", ""), (1, 0): Cell(None, "?", "not measured")}
    svg = matrix("Pairs", ["a", "b"], cells)
    assert {"+1.00", "?", "a", "b"} <= set(texts(svg))
    label = elements(svg, "svg")[0].get("aria-label") or ""
    assert "a and a: +1.00; b and a: ? not measured" in label


def test_the_matrix_is_as_strong_as_its_values() -> None:
    cells = {(0, 0): Cell(1.0, "+1", ""), (0, 1): Cell(-0.5, "-0.5", "")}
    svg = matrix("Pairs", ["a", "b"], cells)
    styles = [each.get("style") or "" for each in elements(svg, "path")]
    assert any("--positive" in style and "opacity: 0.5" in style for style in styles)
    assert any("--negative" in style and "opacity: 0.25" in style for style in styles)


def test_a_large_matrix_says_only_the_signs() -> None:
    names = [f"reward-{place}" for place in range(10)]
    svg = matrix("Pairs", names, {(0, 1): Cell(-0.5, "-0.50", ""), (1, 2): Cell(0.5, "+0.50", "")})
    assert "-0.50" not in texts(svg)
    assert {"+", "\N{MINUS SIGN}"} <= set(texts(svg))


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("ocr", "ocr"),
        ("shapes-compressibility", "shapes-\ncompressibility"),
        ("x" * 30, "x" * 30),
        ("a reward of mine", "a reward\nof mine"),
    ],
)
def test_long_names_have_two_lines(name: str, lines: str) -> None:
    assert wrap_name(name) == lines


def test_names_cannot_break_the_page() -> None:
    svg = matrix("<i>", ["<script>&"], {(0, 0): Cell(0.0, "<b>", "")})
    assert "<script>" not in svg
    assert {"<script>&", "<b>"} <= set(texts(svg))


def _luminance(colour: list[float]) -> float:
    shares = [part / 255 for part in colour]
    r, g, b = (s / 12.92 if s <= 0.03928 else ((s + 0.055) / 1.055) ** 2.4 for s in shares)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_letters_can_be_read_on_the_strongest_cell(scheme: int) -> None:
    css = (files("marblecli.report") / "templates" / "page.css").read_text(encoding="utf-8")

    def colour(name: str) -> list[float]:
        found = re.findall(rf"--{name}: #(..)(..)(..)", css)[scheme]
        return [int(part, 16) for part in found]

    ink, paper = colour("ink"), colour("paper")
    for name in ("positive", "negative"):
        mixed = [
            STRONGEST * a + (1 - STRONGEST) * b for a, b in zip(colour(name), paper, strict=True)
        ]
        dark, light = sorted([_luminance(ink), _luminance(mixed)])
        assert (light + 0.05) / (dark + 0.05) >= 4.5
