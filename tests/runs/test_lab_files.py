from __future__ import annotations

from pathlib import Path

import pytest

from marblecli.errors import BadInputError, MarbleError
from marblecli.runs.lab_files import LabFiles, Process, Running


def test_who_runs_the_lab_is_read_back(tmp_path: Path) -> None:
    files = LabFiles(tmp_path)
    assert files.running() is None
    running = Running(Process(3, 1.5, "here"), {"a-seed0": Process(4, 2.5, "here")})
    files.say_running(running)
    assert files.running() == running
    files.say_running(None)
    assert files.running() is None


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "running.json").write_text("{}")
    with pytest.raises(BadInputError, match=r"running\.json: isn't whole"):
        LabFiles(tmp_path).running()


def test_results_are_written_in_three_forms(tmp_path: Path) -> None:
    files = LabFiles(tmp_path)
    files.write_results({"methods": []}, "| a |\n", "<html>")
    assert files.json.read_text().startswith('{\n "schema": 1')
    assert files.markdown.read_text() == "| a |\n"
    assert files.page.read_text() == "<html>"


def test_only_what_isnt_a_run_is_cleared(tmp_path: Path) -> None:
    files = LabFiles(tmp_path)
    for name in ("run", "none"):
        (tmp_path / name / "samples").mkdir(parents=True)
    (tmp_path / "run" / "recipe.toml").write_text("")
    for name in ("run", "none", "absent"):
        files.clear_unstarted(tmp_path / name)
    assert (tmp_path / "run").is_dir()
    assert not (tmp_path / "none").exists()


def test_the_end_of_a_log_is_shown(tmp_path: Path) -> None:
    files = LabFiles(tmp_path)
    assert not files.tail(files.log)
    files.log.write_text("a\nb\n\nc\n")
    assert files.tail(files.log, 2) == "c"
    assert files.tail(files.log, 3) == "b\nc"


def test_a_folder_that_cant_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MarbleError, match="give another --lab-dir"):
        LabFiles(tmp_path / "file").make()
