from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Marble = Callable[..., Any]
REWARDS = {"shapes-colour", "shapes-aesthetic"}


@pytest.fixture
def document(marble: Marble, finished_run: Path) -> dict[str, Any]:
    shown = marble("eval", finished_run, "--json")
    assert shown.code == 0
    return json.loads(shown.out)


def test_json_has_the_documented_shape(document: dict[str, Any], finished_run: Path) -> None:
    assert document["target"] == str(finished_run)
    assert document["checkpoint"] == "step-000004"
    assert document["split"] == "held-out"
    assert set(document["splits"]) == {"train", "held-out"}
    for part in (document, *document["splits"].values()):
        assert part["prompts"] == 2
        assert set(part["rewards"]) == set(part["compare"]["base"]) == REWARDS
        for name in REWARDS:
            reward, base = part["rewards"][name], part["compare"]["base"][name]
            assert set(reward) == {"mean", "low", "high", "n"}
            assert set(base) == {"mean", "change", "low", "high"}
            assert reward["low"] <= reward["mean"] <= reward["high"]
            assert base["low"] <= base["change"] <= base["high"]
            assert base["change"] == pytest.approx(reward["mean"] - base["mean"])
    # There is one image of each held-out prompt, and two of each training prompt.
    assert document["rewards"]["shapes-colour"]["n"] == 2
    assert document["splits"]["train"]["rewards"]["shapes-colour"]["n"] == 4


def test_an_evaluation_gives_what_the_run_itself_recorded(
    document: dict[str, Any], finished_run: Path
) -> None:
    first, last = (
        json.loads(line) for line in (finished_run / "evaluations.jsonl").read_text().splitlines()
    )
    for split, part in document["splits"].items():
        for name in REWARDS:
            assert part["compare"]["base"][name]["mean"] == first[split][name]
            assert part["rewards"][name]["mean"] == last[split][name]


def test_prompts_and_image_counts_can_be_given(
    marble: Marble, finished_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("a red square on black\na blue square on black\n\n")
    shown = marble(
        "eval", finished_run, "--json", "--prompts", tmp_path / "mine.txt",
        "--images-per-prompt", 3,
    )  # fmt: skip
    assert shown.code == 0
    document = json.loads(shown.out)
    assert (document["split"], document["prompts"]) == ("mine.txt", 2)
    assert list(document["splits"]) == ["mine.txt"]
    # A text file has no metadata, which the colour reward needs.
    assert set(document["rewards"]) == {"shapes-aesthetic"}
    assert document["rewards"]["shapes-aesthetic"]["n"] == 6


def test_without_json_there_is_a_table_for_each_split(marble: Marble, finished_run: Path) -> None:
    shown = marble("eval", finished_run, "--images-per-prompt", 1)
    assert shown.code == 0
    for part in ("train prompts", "held-out prompts", "shapes-colour", "step-000004"):
        assert part in shown.out


def test_evaluating_does_not_change_the_run(marble: Marble, finished_run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished_run.rglob("*") if path.is_file()}
    marble("eval", finished_run, "--json")
    after = {path: path.stat().st_mtime_ns for path in finished_run.rglob("*") if path.is_file()}
    assert after == before


def test_a_run_without_a_checkpoint_cannot_be_evaluated(
    marble: Marble, finished_run: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished_run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    shown = marble("eval", tmp_path / "run", "--json")
    assert (shown.code, shown.out) == (2, "")
    (line,) = shown.err.splitlines()
    assert "holds no whole checkpoint" in line


def test_a_missing_prompt_file_is_one_line(
    marble: Marble, finished_run: Path, tmp_path: Path
) -> None:
    shown = marble("eval", finished_run, "--json", "--prompts", tmp_path / "absent.txt")
    assert (shown.code, shown.out) == (2, "")
    assert shown.err.startswith("marble: ")
    assert "absent.txt: can't read the prompts" in shown.err
