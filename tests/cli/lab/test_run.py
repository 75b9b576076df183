from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marblecli.cli.lab import run
from marblecli.errors import BadInputError, InterruptedRunError, MarbleError
from marblecli.lab import running, workers
from marblecli.lab.running import Outcome
from marblecli.lab.workers import describe
from support.lab import write_run

LAB = """
recipe = "recipe.toml"
seeds = [0, 1]
[set]
training.steps = 2
eval.steps = 2
[methods.equal]
balance.method = "equal"
[methods.marble]
balance.method = "marble"
"""


def opened(recipe: Path) -> run.OpenLab:
    source = recipe.with_name("lab.toml")
    source.write_text(LAB)
    return run.open_lab(source, recipe.with_name("out"), ["training.noise_levels=1"], 2)


def outcome(monkeypatch: pytest.MonkeyPatch, found: Outcome) -> None:
    monkeypatch.setattr(running, "run_cells", lambda *_: found)


def test_the_command_that_opens_the_lab_again_has_all_options(recipe: Path) -> None:
    lab = opened(recipe)
    folder = recipe.with_name("out")
    assert lab.command("--status") == (
        f"marble lab {lab.source} --lab-dir {folder} --set training.noise_levels=1 --jobs 2 "
        "--status"
    )


def test_an_interrupted_lab_says_how_to_go_on(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = opened(recipe)
    outcome(monkeypatch, Outcome(interrupted=True))
    with pytest.raises(InterruptedRunError, match="go on with: marble lab ") as caught:
        run.run_all(lab)
    assert caught.value.exit_code == 130


def test_a_failed_cell_is_named_with_what_it_said_last(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = opened(recipe)
    lab.files.make()
    log = lab.files.cell_log("equal-seed0")
    log.write_text("marble: out of memory\n")
    outcome(monkeypatch, Outcome(failed={"equal-seed0": 1}))
    with pytest.raises(MarbleError) as caught:
        run.run_all(lab)
    assert str(caught.value).splitlines()[:2] == [
        f"equal-seed0 has failed (exit code 1), see {log}:",
        "marble: out of memory",
    ]


def test_one_cell_is_trained_resumed_or_left(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called: list[tuple[str, ...]] = []
    monkeypatch.setattr(workers, "become", lambda arguments, threads: called.append(arguments))
    lab = opened(recipe)
    write_run(lab.cells[1], 4)
    write_run(lab.cells[2], 1)
    for number in (0, 1, 2):
        run.run_one(lab, number)
    assert [arguments[0] for arguments in called] == ["train", "resume"]
    assert "marble-seed0 is finished" in capsys.readouterr().out
    with pytest.raises(BadInputError, match="there are the cells 0 to 3"):
        run.run_one(lab, 4)


def test_the_background_says_where_to_look(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[tuple[str, ...]] = []

    def detach(arguments: tuple[str, ...], files: object) -> Any:
        started.append(arguments)
        return describe(os.getpid())

    monkeypatch.setattr(workers, "detach", detach)
    lab = opened(recipe)
    run.run_in_background(lab)
    assert started == [lab.arguments()]
    out = capsys.readouterr().out
    for part in (f"log: {lab.files.log}", f"look: {lab.command('--status')}", "stop: kill -INT"):
        assert part in out


@pytest.mark.slow  # Each of the four runs loads torch anew.
def test_a_lab_really_trains_and_compares(
    tiny_recipe: Path, tmp_path: Path, marble: Callable[..., Any]
) -> None:
    source = tmp_path / "lab.toml"
    source.write_text(LAB.replace("recipe.toml", tiny_recipe.as_posix()))
    shown = marble("lab", source, "--lab-dir", tmp_path / "out", "--jobs", "2")
    assert shown.code == 0, shown.err
    found = json.loads((tmp_path / "out" / "lab.json").read_text())
    assert {name: each["seeds"] for name, each in found["methods"].items()} == {
        "equal": [0, 1],
        "marble": [0, 1],
    }
    for each in found["methods"].values():
        assert each["measures"]["distance"] > 0.0
        assert each["measures"]["passes"] > 0.0
    again = marble("lab", source, "--lab-dir", tmp_path / "out")
    assert again.code == 0
    assert "begins" not in again.out
