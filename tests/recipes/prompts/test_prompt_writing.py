from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from marblecli.errors import BadInputError
from prompt_writing import (
    in_turn,
    make_parser,
    pick,
    read_prompts,
    run_writer,
    with_article,
    write_lines,
)


def test_decks_are_drawn_in_turn_until_none_has_any_left() -> None:
    assert list(in_turn([iter("abc"), iter(""), iter("x"), iter("12")])) == list("ax1b2c")


def test_nothing_is_drawn_before_its_turn() -> None:
    endless = count()
    drawn = in_turn([endless])
    assert [next(drawn), next(drawn)] == [0, 1]
    assert next(endless) == 2


def test_every_choice_is_picked() -> None:
    rng = np.random.default_rng(0)
    assert {pick("abc", rng) for _ in range(50)} == set("abc")


@pytest.mark.parametrize(("name", "text"), [("owl", "an owl"), ("cat", "a cat")])
def test_a_name_gets_its_article(name: str, text: str) -> None:
    assert with_article(name) == text


def test_prompts_of_several_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("a cat\n")
    (tmp_path / "two.jsonl").write_text('{"prompt": "a dog", "tag": "x"}\n')
    found = read_prompts([tmp_path / "one.txt", tmp_path / "two.jsonl"])
    assert [(prompt.text, prompt.source) for prompt in found] == [
        ("a cat", "one"),
        ("a dog", "two"),
    ]


def test_only_as_many_lines_are_drawn_as_are_written(tmp_path: Path) -> None:
    numbers = count()
    write_lines(tmp_path / "out.txt", map(str, numbers), 3)
    assert (tmp_path / "out.txt").read_text() == "0\n1\n2\n"
    assert next(numbers) == 3


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (0, "--count must be at least 1, got 0"),
        (4, r"there are only 3 prompts to draw: choose a --count of at most that"),
    ],
)
def test_a_count_that_cannot_be_met_is_named(tmp_path: Path, wanted: int, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        write_lines(tmp_path / "out.txt", "abc", wanted)
    assert not list(tmp_path.iterdir())


def draw(options: Namespace) -> Iterator[str]:
    excluded = {prompt.text for prompt in read_prompts(options.exclude)}
    return (text for text in map(str, count(options.seed)) if text not in excluded)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["write", *map(str, arguments)])
    run_writer(make_parser("Write.", "OUT.txt", "numbers"), draw)


def test_the_options_reach_the_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("5\n")
    (tmp_path / "b.txt").write_text("7\n")
    out = tmp_path / "out.txt"
    excluded = ("--exclude", tmp_path / "a.txt", "--exclude", tmp_path / "b.txt")
    run(monkeypatch, out, "--seed", 4, "--count", 3, *excluded)
    assert out.read_text() == "4\n6\n8\n"


def test_a_fault_of_the_user_ends_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, tmp_path / "out.txt", "--exclude", tmp_path / "none.txt")
    assert stop.value.code == 2
    assert "none.txt: can't read the prompts" in capsys.readouterr().err.splitlines()[-1]
