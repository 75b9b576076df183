from __future__ import annotations

from pathlib import Path

import pytest

from marblecli.errors import BadInputError
from marblecli.lab.results import read_results
from support.lab import cell_of, evaluation, record, write_run


def test_finished_cells_are_read_and_the_others_named(tmp_path: Path) -> None:
    cells = [
        cell_of(tmp_path, method, seed)
        for seed in (0, 1)
        for method in ("marble", "equal", "begun")
    ]
    for cell in cells[:2] + cells[4:5]:
        write_run(cell, 4)
    write_run(cells[2], 1)
    found = read_results(cells, ("a", "b"))
    assert {name: len(each) for name, each in found.methods.items()} == {"marble": 1, "equal": 2}
    assert found.missing == ("begun-seed0", "marble-seed1", "begun-seed1")
    (cell,) = found.methods["marble"]
    assert (cell.base.step, cell.last.step, len(cell.metrics)) == (0, 4, 4)


def test_nothing_to_compare_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no cell is finished"):
        read_results([cell_of(tmp_path, "equal")], ("a",))


def test_scores_are_compared_in_the_rewards_own_scale(tmp_path: Path) -> None:
    """The sign stays: it says what is rewarded."""
    cell = cell_of(tmp_path, "equal")
    write_run(cell, 4)
    recipe = cell.directory / "recipe.toml"
    scaled = "[rewards.a]\nscale = 10.0\n[rewards.b]\nscale = -2.0\n"
    recipe.write_text(recipe.read_text().replace("[rewards.a]\n[rewards.b]\n", scaled))
    (cell.directory / "evaluations.jsonl").unlink()
    record(cell, evaluation(0, {"a": [[5.0]], "b": [[-6.0]], "c": [[None]]}))
    record(cell, evaluation(4, {"a": [[7.0]], "b": [[-4.0]], "c": [[3.0]]}))
    (found,) = read_results([cell], ("a", "b", "c")).methods["equal"]
    assert found.base.images["held-out"][0].scores == {"a": 0.5, "b": -3.0, "c": None}
    assert found.last.images["held-out"][0].scores == {"a": 0.7, "b": -2.0, "c": 3.0}
