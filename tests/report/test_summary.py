from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from marblecli.report.summary import changes_table, verdict
from marblecli.types import RewardChange


def change(end: float, low: float, high: float) -> RewardChange:
    return RewardChange("ocr", 0.5, end, low, high, end - 0.1, end + 0.1, 24)


def shown(split: str, *changes: RewardChange, colours: bool = False) -> str:
    stream = StringIO()
    system = "standard" if colours else None
    console = Console(file=stream, width=120, force_terminal=colours, color_system=system)
    console.print(changes_table(split, changes))
    return stream.getvalue()


def test_a_reward_is_a_row_from_start_to_end() -> None:
    (row,) = [
        line for line in shown("train", change(0.75, 0.125, 0.375)).splitlines() if "ocr" in line
    ]
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells == ["ocr", "0.500", "0.750", "+0.250", "+0.125 … +0.375", "24"]


def test_the_title_says_which_prompts_and_the_caption_what_the_interval_is_over() -> None:
    train, held_out = shown("train", change(0.5, 0, 0)), shown("held-out", change(0.5, 0, 0))
    assert "train prompts" in train
    assert "interval over noise" in train
    assert "held-out prompts" in held_out
    assert "interval over prompts" in held_out
    assert "interval over" not in shown("mine.txt", change(0.5, 0, 0))


@pytest.mark.parametrize(
    ("one", "colour"),
    [
        (change(0.75, 0.125, 0.375), "\x1b[32m+0.250"),
        (change(0.25, -0.375, -0.125), "\x1b[31m-0.250"),
        (change(0.75, -0.125, 0.625), None),
        (change(0.75, 0.0, 0.5), None),
    ],
)
def test_only_what_the_interval_supports_is_coloured(one: RewardChange, colour: str | None) -> None:
    text = shown("train", one, colours=True)
    if colour is None:
        assert "\x1b[32m" not in text
        assert "\x1b[31m" not in text
    else:
        assert colour in text


def named(name: str, low: float, high: float) -> RewardChange:
    return RewardChange(name, 0.5, 0.5 + (low + high) / 2, low, high, 0.0, 1.0, 24)


FAILED = RewardChange("vlm", *(float("nan"),) * 6, 0, failure="no driver")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ([named("ocr", 0.1, 0.3)], "ocr (+0.200) rose"),
        (
            [named("ocr", 0.1, 0.3), named("aes", 0.1, 0.1), named("jpeg", -0.4, -0.2)],
            "ocr (+0.200) and aes (+0.100) rose and jpeg (-0.300) fell",
        ),
        (
            [named("ocr", 0.1, 0.3), named("jpeg", -0.4, 0.2), FAILED],
            "ocr (+0.200) rose, the change of 1 other reward is not significant and "
            "1 reward failed",
        ),
        (
            [named("ocr", -0.1, 0.3), named("jpeg", -0.4, 0.2)],
            "the changes of 2 rewards are not significant",
        ),
        ([], "no reward applies"),
    ],
)
def test_the_verdict_names_what_is_significant(changes: list[RewardChange], sentence: str) -> None:
    assert verdict("held-out", changes) == f"On held-out prompts, {sentence}"
