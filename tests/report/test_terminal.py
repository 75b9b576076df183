from __future__ import annotations

import re
from io import StringIO

import pytest
from rich.console import Console

from marblecli.report.tables import Column, MeanCosine, Table
from marblecli.report.terminal import _HYPHENS, _WORDS, _broken, show
from support.findings import SURE

TABLE = Table(
    "A title that is much longer than its table",
    (
        Column("direction", "text"),
        Column("held-out half of it", "estimate", "8 batches"),
        Column("left out", "number", detail=True),
    ),
    (("[bold]applied", MeanCosine(SURE, reward="shapes-compressibility"), 0.5),),
    notes=("[red] is no markup",),
)


def shown(width: int, table: Table = TABLE, **options) -> str:
    stream = StringIO()
    show(table, Console(file=stream, width=width, **options))
    return stream.getvalue()


def test_title_table_and_notes_stand_in_order() -> None:
    text = shown(100)
    places = [text.index(part) for part in ("A title", "direction", "8 batches", "[red] is no")]
    assert places == sorted(places)
    assert "A title that is much longer than its table\n" in text
    assert "[bold]applied" in text


@pytest.mark.parametrize(
    ("width", "there", "absent"),
    [
        (100, ("left out", "shapes-compressibility", "held-out half of it"), ()),
        (50, ("held-out half of it",), ("left out", "shapes-compressibility")),
        (36, ("held-", "out", "[-0.60, -0.40]"), ("left out", "held-out half")),
    ],
)
def test_a_narrow_screen_leaves_out_details_first(width: int, there, absent) -> None:
    text = shown(width)
    assert max(map(len, text.splitlines()[1:])) <= width
    assert all(part in text for part in there)
    assert not any(part in text for part in absent)


@pytest.mark.parametrize(
    ("text", "words", "hyphens"),
    [
        ("weighted-sum", ["weighted-sum"], ["weighted-", "sum"]),
        ("shapes-x - ocr", ["shapes-x", "- ocr"], ["shapes-", "x", "- ocr"]),
        ("+0.482? (100 %)", ["+0.482?", "(100 %)"], ["+0.482?", "(100 %)"]),
        ("[-0.60, -0.40]", ["[-0.60, -0.40]"], ["[-0.60, -0.40]"]),
        ("-1e-05", ["-1e-05"], ["-1e-05"]),
        ("noise 0.33-0.67", ["noise", "0.33-0.67"], ["noise", "0.33-0.67"]),
    ],
)
def test_the_narrowest_screens_break_names_and_never_numbers(
    text: str, words: list[str], hyphens: list[str]
) -> None:
    assert _broken(text, _WORDS).split("\n") == words
    assert _broken(text, _HYPHENS).split("\n") == hyphens


def test_a_significant_conflict_is_red() -> None:
    coloured = shown(100, color_system="standard", force_terminal=True)
    assert re.findall(r"\x1b\[31m *(\S+)\x1b", coloured) == ["-0.500"]
