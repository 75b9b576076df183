from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from marblecli.errors import BadInputError, MarbleError
from marblecli.runs.evaluation_folder import EvaluationFolder, ScoredPart, Subject
from marblecli.runs.pictures import read_pictures
from marblecli.types import RewardFault, ScoredImage

REQUEST = {"target": "runs/a", "prompts": {"held-out": "1f"}}


def part(subject: Subject, place: int, score: float | None = 0.5) -> ScoredPart:
    images = tuple(
        ScoredImage(f"prompt {place}", "plain", place, number, {"ocr": score})
        for number in range(2)
    )
    faults = () if score is not None else (RewardFault("ocr", "no driver", 2),)
    return ScoredPart(subject, "held-out", images, faults)


def picture(level: float) -> torch.Tensor:
    return torch.full((3, 8, 8), level)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run" / "evaluations" / "one"


def test_what_was_added_is_there_for_the_same_request(folder: Path) -> None:
    first = EvaluationFolder.at(folder, REQUEST)
    parts = [part("other", 1), part("other", 0, None), part("target", 0)]
    for each in parts:
        first.add(each, {})
    again = EvaluationFolder.at(folder, REQUEST)
    assert again.parts == parts
    assert [(i.place, i.number) for i in again.scored("other", "held-out")] == [
        (0, 0), (0, 1), (1, 0), (1, 1),
    ]  # fmt: skip
    assert [fault.message for fault in again.faults("other", "held-out")] == ["no driver"]
    assert again.scored("target", "train") == ()


def test_another_request_begins_anew(folder: Path) -> None:
    EvaluationFolder.at(folder, REQUEST).add(part("other", 0), {0: picture(0.5)})
    assert EvaluationFolder.at(folder, {**REQUEST, "seed": 1}).parts == []
    assert not list(folder.glob("images/*"))


def test_a_finished_evaluation_is_made_anew(folder: Path) -> None:
    first = EvaluationFolder.at(folder, REQUEST)
    first.add(part("other", 0), {})
    first.finish({"rewards": {"ocr": float("nan")}}, 4, ["held-out"], "another")
    assert json.loads((folder / "result.json").read_text()) == {
        "schema": 1,
        "rewards": {"ocr": None},
    }
    assert EvaluationFolder.at(folder, REQUEST).parts == []
    assert not (folder / "result.json").exists()


def test_a_line_that_a_kill_cut_short_is_dropped_before_the_next(folder: Path) -> None:
    EvaluationFolder.at(folder, REQUEST).add(part("other", 0), {})
    with (folder / "scores.jsonl").open("a") as file:
        file.write('{"schema": 1, "step": 1, "subj')
    again = EvaluationFolder.at(folder, REQUEST)
    again.add(part("other", 1), {})
    assert [each.images[0].place for each in EvaluationFolder.at(folder, REQUEST).parts] == [0, 1]


def test_a_broken_line_is_named(folder: Path) -> None:
    EvaluationFolder.at(folder, REQUEST).add(part("other", 0), {})
    (folder / "scores.jsonl").write_text('{"step": 0, "subject": "mine"}\n')
    with pytest.raises(BadInputError, match=r"scores\.jsonl, line 1: subject: "):
        EvaluationFolder.at(folder, REQUEST)


def test_pictures_show_other_and_target_side_by_side(folder: Path) -> None:
    from PIL import Image

    found = EvaluationFolder.at(folder, REQUEST)
    found.add(part("other", 0), {0: picture(0.0)})
    found.add(part("target", 0), {0: picture(1.0)})
    found.add(part("target", 1), {})
    found.finish({}, 4, ["held-out"], "the base model")
    (drawn,) = read_pictures(folder / "samples")
    (cell,) = drawn.cells
    assert cell.base is not None
    assert cell.now is not None
    with Image.open(drawn.path) as image:
        colours = [image.crop(box).getpixel((1, 1)) for box in (cell.base, cell.now)]
    assert colours == [(0, 0, 0), (255, 255, 255)]


def test_a_folder_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MarbleError, match="--output DIR writes elsewhere"):
        EvaluationFolder.at(tmp_path / "file" / "one", REQUEST)
