from __future__ import annotations

import os
from pathlib import Path

import pytest

from marblecli.cli.lab.status import show
from marblecli.lab.workers import describe
from marblecli.runs.lab_files import LabFiles, Running
from support.lab import cell_of, write_run


def test_every_cell_has_a_state_and_the_lab_its_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = [cell_of(tmp_path, name) for name in ("done", "runs", "begun", "waits")]
    for cell, step in zip(cells, (4, 1, 2), strict=False):
        write_run(cell, step)
    files, me = LabFiles(tmp_path), describe(os.getpid())
    files.say_running(Running(me, {"runs-seed0": me}))
    files.log.write_text("what it said last\n")
    show(cells, files, jobs=1)
    out = capsys.readouterr().out
    words = [line.split("│")[3].strip() for line in out.splitlines() if "-seed0" in line]
    assert words == ["finished", "running", "begun", "waiting"]
    assert "1 of 4 cells are finished; 0:00:" in out
    assert f"stop: kill -INT {me.pid}" in out
    assert "what it said last" in out


def test_a_lab_that_nobody_runs_has_no_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show([cell_of(tmp_path, "waits")], LabFiles(tmp_path), jobs=1)
    out = capsys.readouterr().out
    assert "0 of 1 cells are finished" in out
    assert "kill" not in out
