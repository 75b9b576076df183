from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from marblecli.errors import BadInputError
from marblecli.runs.evaluations import evaluation_to_json, read_evaluations
from marblecli.runs.json_lines import append_line
from marblecli.types import EvaluationRecord, RewardFault, ScoredImage

RECORD = EvaluationRecord(
    step=4,
    subject="trained",
    images={
        "train": (
            ScoredImage("a cat", "plain", 0, 0, {"ocr": 0.25, "aes": None}),
            ScoredImage("a cat", "plain", 0, 1, {"ocr": 0.75, "aes": None}),
        ),
        "held-out": (ScoredImage("a dog", "plain", 0, 0, {"ocr": None, "aes": 0.5}),),
    },
    faults={"train": (RewardFault("aes", "ValueError: no", 2),), "held-out": ()},
    seed=3,
    distances={"held-out": 0.125},
)


def write(folder: Path, *lines: dict[str, Any]) -> Path:
    path = folder / "evaluations.jsonl"
    for line in lines:
        append_line(path, line)
    return path


def test_the_keys_that_scripts_rely_on() -> None:
    line = evaluation_to_json(RECORD)
    assert line == {
        "step": 4,
        "train": {"ocr": 0.5},
        "held-out": {"aes": 0.5},
        "subject": "trained",
        "distances": {"held-out": 0.125},
        "seed": 3,
        "seconds": None,
        "images": {
            "train": [
                {
                    "prompt": "a cat",
                    "source": "plain",
                    "place": 0,
                    "number": number,
                    "scores": {"ocr": score, "aes": None},
                }
                for number, score in ((0, 0.25), (1, 0.75))
            ],
            "held-out": [
                {
                    "prompt": "a dog",
                    "source": "plain",
                    "place": 0,
                    "number": 0,
                    "scores": {"ocr": None, "aes": 0.5},
                }
            ],
        },
        "faults": {
            "train": [{"reward": "aes", "message": "ValueError: no", "images": 2}],
            "held-out": [],
        },
    }
    assert json.loads(json.dumps(line, allow_nan=False)) == line


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = write(tmp_path, evaluation_to_json(RECORD), {"later": 1, **evaluation_to_json(RECORD)})
    assert read_evaluations(path) == (RECORD, RECORD)
    assert read_evaluations(tmp_path / "absent.jsonl") == ()


def test_older_lines_have_their_means_and_no_images(tmp_path: Path) -> None:
    means = {"train": {"ocr": 0.5}, "held-out": {"ocr": 0.25}}
    path = write(tmp_path, {"step": 0, **means}, {"step": 8, **means})
    first, last = read_evaluations(path)
    assert (first.step, first.subject, last.step, last.subject) == (0, "base", 8, "trained")
    assert first.images == last.images == {}
    assert first.means == last.means == means


def test_a_record_without_images_is_written_as_it_was_read(tmp_path: Path) -> None:
    (record,) = read_evaluations(write(tmp_path, {"step": 0, "train": {"ocr": 0.5}}))
    assert evaluation_to_json(record)["train"] == {"ocr": 0.5}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": {"train": [{"prompt": "a cat"}]}}, r"line 2: images\.train\.0\."),
        ({"subject": "other"}, "line 2: subject: "),
        ({"schema": 2}, "line 2: has schema 2"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    line = evaluation_to_json(RECORD)
    path = write(tmp_path, line, {**line, **change})
    with pytest.raises(BadInputError, match=message) as caught:
        read_evaluations(path)
    assert "\n" not in str(caught.value)


def test_an_older_line_whose_means_arent_numbers_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, {"step": 1, "train": {"ocr": "high"}})
    with pytest.raises(BadInputError, match=r"line 1: known_means\.train\.ocr: "):
        read_evaluations(path)
