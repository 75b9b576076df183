from __future__ import annotations

from pathlib import Path

import pytest

from marblecli.pictures.legend import LegendCell, Picture, Scores, split_name


def test_a_change_needs_both_scores() -> None:
    assert Scores(1.0, 1.5).change == 0.5
    assert Scores(1.0, None).change is None
    assert Scores(None, 1.0).change is None


def test_the_alt_text_says_what_the_captions_say() -> None:
    cells = (
        LegendCell("a cat", "s", "train", rewards={"x": Scores(0.5, 0.75), "y": Scores(0.5, None)}),
        LegendCell("a dog", "s", "mine.txt"),
    )
    picture = Picture(3, "prompts", "Step 3", cells, Path("a.png"))
    assert picture.alt == ("Step 3. training prompt “a cat”: x +0.250; prompt of mine.txt “a dog”")


@pytest.mark.parametrize(
    ("split", "name"), [("train", "training prompt"), ("held-out", "held-out prompt")]
)
def test_splits_have_a_name(split: str, name: str) -> None:
    assert split_name(split) == name
