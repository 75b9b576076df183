from __future__ import annotations

import re
from io import StringIO

import pytest
from rich.console import Console

from marblecli.report.tables import Column, MeanCosine, Table
from marblecli.report.terminal import _broken, say, show
from support.findings import SURE

TABLE = Table(
    "A title that is much longer than its table",
    (
        Column("direction", "text"),
        Column("held-out half of it", "estimate", "8 batches", chance=31 / 32),
        Column("left out", "number", detail=1),
        Column("first to go", "number", detail=2),
    ),
    (("[bold]applied", MeanCosine(SURE, reward="shapes-compressibility"), 0.5, 0.25),),
    notes=("[red] is no markup",),
)


def shown(width: int, table: Table = TABLE, **options) -> str:
    stream = StringIO()
    show(table, Console(file=stream, width=width, **options))
    return stream.getvalue()


def said(text: str, width: int) -> list[str]:
    stream = StringIO()
    say(text, Console(file=stream, width=width))
    return stream.getvalue().splitlines()


def test_title_table_and_notes_stand_in_order() -> None:
    text = shown(100)
    parts = ("A title", "8 batches", "by chance 97 %", "[red] is no")
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert "A title that is much longer than its table\n" in text
    assert "[bold]applied" in text
    assert "direction" in text


@pytest.mark.parametrize(
    ("width", "there", "absent"),
    [
        (100, ("first to go", "left out", "shapes-compressibility", "held-out half of it"), ()),
        (56, ("left out", "shapes-compressibility"), ("first to go",)),
        (50, ("held-out half of it",), ("left out", "shapes-compressibility")),
        (38, ("held-out ", "[-0.60, -0.40]"), ("left out", "held-out half")),
    ],
)
def test_a_narrow_screen_leaves_out_details_first(width: int, there, absent) -> None:
    text = shown(width)
    assert max(map(len, text.splitlines())) <= width
    assert all(part in text for part in there)
    assert not any(part in text for part in absent)


def test_what_has_no_room_is_drawn_as_several_tables_with_the_first_column() -> None:
    names = [f"reward-number-{number}" for number in range(5)]
    columns = (Column("step", "count"), *(Column(name, "cosine") for name in names))
    text = shown(50, Table("title", columns, ((1, *(0.1 * place for place in range(5))),)))
    assert max(map(len, text.splitlines())) <= 50
    assert text.count("step") == 3
    assert all(text.count(name) == 1 for name in names)
    assert re.findall(r"\+0\.\d00", text) == ["+0.000", "+0.100", "+0.200", "+0.300", "+0.400"]


def test_one_wide_column_is_shown_although_it_has_no_room() -> None:
    table = Table("title", (Column("reward", "text"), Column("x" * 30, "number")), (("a", 1.0),))
    assert "1.0000" in shown(25, table)


def test_sentences_are_broken_between_words_and_never_inside_a_value_or_a_name() -> None:
    text = "The shapes-compressibility reward (95 % interval) of /a/very/long/path/to/a/run is it."
    for width in (10, 26, 40, 80):
        lines = said(text, width)
        assert " ".join(lines) == text
        assert not any(line.startswith(("%", "interval")) for line in lines)
        assert "shapes-compressibility" in " ".join(line for line in lines if "shapes" in line)
    assert said("[red]not markup[/red]", 80) == ["[red]not markup[/red]"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("weighted-sum", ["weighted-sum"]),
        ("shapes-x - ocr", ["shapes-x", "- ocr"]),
        ("+0.482? (100 %)", ["+0.482?", "(100 %)"]),
        ("[-0.60, -0.40]", ["[-0.60, -0.40]"]),
        ("noise 0.33-0.67", ["noise", "0.33-0.67"]),
    ],
)
def test_the_narrowest_screens_break_between_words_and_never_inside_a_bracket(
    text: str, words: list[str]
) -> None:
    assert _broken(text).split("\n") == words


def test_a_significant_conflict_is_red() -> None:
    coloured = shown(100, color_system="standard", force_terminal=True)
    assert re.findall(r"\x1b\[31m *(\S+)\x1b", coloured) == ["-0.500"]
