from __future__ import annotations

from pathlib import Path

import pytest

from support.recipes import load, problems


@pytest.mark.parametrize(
    ("source", "hint"), [("orc", " (did you mean 'ocr'?)"), ("zzz", "; choose from ocr, plain")]
)
def test_a_source_that_isnt_there_is_named(folder: Path, source: str, hint: str) -> None:
    (line,) = problems(folder, f'rewards.read.sources=["ocr", "{source}"]')
    assert line == f"rewards.read.sources: no prompt source {source!r}{hint}"


def test_a_reward_without_sources_is_limited_to_none(folder: Path) -> None:
    assert load(folder).rewards["sharp"].sources is None


def test_a_reward_whose_sources_are_faulty_doesnt_hide_the_next(folder: Path) -> None:
    found = problems(folder, "rewards.read.sources=3", 'rewards.sharp.sources=["orc"]')
    assert [line.partition(":")[0] for line in found] == [
        "rewards.read.sources",
        "rewards.sharp.sources",
    ]
