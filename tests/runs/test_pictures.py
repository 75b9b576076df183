from __future__ import annotations

import json
from pathlib import Path

import pytest

from marblecli.errors import BadInputError
from marblecli.pictures.legend import LegendCell
from marblecli.runs.pictures import forget_later, read_pictures
from marblecli.runs.samples import save_samples
from support.pictures import evaluation, images_of

RECORD = evaluation(3, {"train": [("a cat", "plain")]}, 1, lambda *_: {"x": 0.5, "y": None})


def test_a_picture_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    written = save_samples(tmp_path, None, RECORD, images_of(RECORD, 8, 8, 0))
    assert read_pictures(tmp_path) == written


@pytest.mark.parametrize("schema", [{}, {"schema": 1}])
def test_a_grid_of_an_earlier_version_is_read(tmp_path: Path, schema: dict[str, int]) -> None:
    legend = {
        **schema,
        "step": 3,
        "split": "train",
        "columns": 1,
        "prompts": [{"prompt": "a cat", "source": "plain"}],
    }
    (tmp_path / "step-000003-train.json").write_text(json.dumps(legend))
    (grid,) = read_pictures(tmp_path)
    assert (grid.step, grid.kind, grid.path.name) == (3, "grid", "step-000003-train.png")
    assert grid.cells == (LegendCell("a cat", "plain", "train"),)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"step": 1}', '{"step": 1, "kind": "prompts"}', '{"kind": 3}']
)
def test_a_broken_legend_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "step-000003.json").write_text(text)
    with pytest.raises(BadInputError, match=r"step-000003\.json: isn't a whole legend"):
        read_pictures(tmp_path)


def test_pictures_of_later_steps_are_forgotten(tmp_path: Path) -> None:
    kept = ["base", "step-000000.json", "step-000002.png", "other.txt"]
    gone = ["step-000003.json", "step-000003-changed.jpg", "step-1000000.png"]
    for name in kept + gone:
        (tmp_path / name).write_text("")
    forget_later(tmp_path, 2)
    assert {path.name for path in tmp_path.iterdir()} == set(kept)
