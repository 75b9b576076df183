from __future__ import annotations

import io
import math
from typing import Any

import pytest
from rich.console import Console

from marblecli.report.evaluation import (
    EvaluationResult,
    SplitResult,
    last_notes,
    result_document,
    result_table,
    split_notes,
)
from marblecli.types import RewardChange

OCR = RewardChange("ocr", 0.5, 0.625, 0.1, 0.15, 0.5, 0.75, 24, win_rate=0.75)
ONE = RewardChange(
    "jpeg", -1.0, -1.5, *(math.nan,) * 4, 2, win_rate=0.0,
    no_interval="one prompt", no_end_interval="one prompt",
)  # fmt: skip
FAILED = RewardChange("geneval", *(math.nan,) * 6, 0, failure="no driver")


def result(*changes: RewardChange, other: str = "base", **more: Any) -> EvaluationResult:
    split = SplitResult("held-out", 12, changes, **more)
    return EvaluationResult("runs/a", "step-000050", other, [split], frozenset({"ocr"}), "out")


def shown(found: EvaluationResult, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(result_table(found, found.splits[0]))
    text: io.StringIO = console.file
    return [line.rstrip() for line in text.getvalue().splitlines()]


def test_a_row_has_the_change_its_interval_and_the_win_rate() -> None:
    row = next(line for line in shown(result(OCR)) if "ocr" in line)
    assert row.split() == [
        "ocr",
        "0.500",
        "0.625",
        "+0.125",
        "+0.100",
        "…",
        "+0.150",
        "75",
        "%",
        "24",
    ]


def test_a_cell_without_an_interval_says_why() -> None:
    row = next(line for line in shown(result(ONE)) if "jpeg" in line)
    assert "one prompt" in row
    assert "nan" not in row


def test_a_reward_that_failed_is_shown_as_failed() -> None:
    row = next(line for line in shown(result(FAILED)) if "geneval" in line)
    assert row.split() == ["geneval", "failed", "no", "driver", "0"]
    document = result_document(result(FAILED))
    assert document["rewards"]["geneval"]["failure"] == "no driver"


def test_sources_have_rows_only_where_a_reward_applies_to_several() -> None:
    both = {"plain": (6, [OCR, ONE]), "letters": (6, [OCR])}
    lines = shown(result(OCR, ONE, sources=both))
    assert [line.split()[0] for line in lines[4:8] if line] == ["ocr", "plain", "letters", "jpeg"]


@pytest.mark.parametrize("width", [80, 120])
def test_long_names_fit_the_screen(width: int) -> None:
    long = RewardChange("shapes-compressibility", *(-0.125,) * 6, 1152, win_rate=1.0)
    lines = shown(result(long), width)
    assert max(map(len, lines)) <= width
    assert any("shapes-compressibility" in line and "1152" in line for line in lines)


def test_notes_name_what_isnt_trained_and_what_is_also_trained() -> None:
    found = result(OCR, ONE, also_trained=("a", "b", "c", "d"), other="runs/b")
    notes = " ".join(split_notes(found, found.splits[0]))
    assert "Not trained: jpeg." in notes
    assert "4 of these 12 prompts are also trained on: 'a'; 'b'; 'c'; and 1 more" in notes
    assert "other: runs/b" in list(last_notes(found))


def test_the_document_has_null_and_the_reason_where_there_is_no_interval() -> None:
    document = result_document(result(OCR, ONE))
    assert document["rewards"]["ocr"] == {
        "mean": 0.625, "low": 0.5, "high": 0.75, "n": 24, "trained": True,
    }  # fmt: skip
    assert document["rewards"]["jpeg"] == {
        "mean": -1.5, "low": None, "high": None, "n": 2, "trained": False,
        "no_interval": "one prompt",
    }  # fmt: skip
    assert document["compare"]["base"]["jpeg"]["change"] == -0.5
    assert document["compare"]["base"]["ocr"]["win_rate"] == 0.75
