from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from marblecli.errors import BadInputError
from marblecli.lab import workers
from marblecli.lab.grid import Cell
from marblecli.lab.running import check_free, run_cells
from marblecli.lab.state import CellState, state_of
from marblecli.lab.workers import describe
from marblecli.runs.lab_files import LabFiles, Process, Running
from support.lab import cell_of, pretender, write_run


class Heard:
    """What the display was told."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.endings: dict[str, int] = {}
        self.most = 0
        self.stopped = 0

    def began(self, state: CellState) -> None:
        self.begun.append(state.cell.name)

    def ended(self, cell: Cell, code: int) -> None:
        self.endings[cell.name] = code

    def progress(
        self, states: Sequence[CellState], running: Sequence[Cell], left: float | None
    ) -> None:
        self.most = max(self.most, len(running))

    def stopping(self) -> None:
        self.stopped += 1


@pytest.fixture(autouse=True)
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "MARBLE", pretender(tmp_path))


def test_all_cells_are_trained_and_finished_ones_skipped(tmp_path: Path) -> None:
    cells = [cell_of(tmp_path, name) for name in ("a", "b", "c")]
    write_run(cells[1], 4)
    files, heard = LabFiles(tmp_path), Heard()
    outcome = run_cells(cells, files, 2, heard)
    assert heard.begun == ["a-seed0", "c-seed0"]
    assert heard.most == 2
    assert heard.endings == {"a-seed0": 0, "c-seed0": 0}
    assert all(state_of(cell).finished for cell in cells)
    assert not outcome.failed
    assert not outcome.interrupted
    assert files.running() is None
    assert "train" in files.cell_log("a-seed0").read_text()


def test_a_cell_that_fails_doesnt_keep_the_others_from_being_trained(tmp_path: Path) -> None:
    cells = [cell_of(tmp_path, name) for name in ("fails", "b")]
    outcome = run_cells(cells, LabFiles(tmp_path), 1, Heard())
    assert outcome.failed == {"fails-seed0": 1}
    assert state_of(cells[1]).finished


def test_a_cell_that_was_killed_goes_on(tmp_path: Path) -> None:
    cells, files = [cell_of(tmp_path, "killed")], LabFiles(tmp_path)
    assert run_cells(cells, files, 1, Heard()).failed == {"killed-seed0": -signal.SIGKILL}
    assert state_of(cells[0]).step == 1
    assert not run_cells(cells, files, 1, Heard()).failed
    assert state_of(cells[0]).finished
    assert "resume" in files.cell_log("killed-seed0").read_text()


def test_what_was_killed_before_it_was_a_run_is_begun_again(tmp_path: Path) -> None:
    cell = cell_of(tmp_path, "a")
    (cell.directory / "samples").mkdir(parents=True)
    assert not run_cells([cell], LabFiles(tmp_path), 1, Heard()).failed
    assert state_of(cell).finished


def test_a_stop_lets_every_cell_save_and_the_next_run_ends_them(tmp_path: Path) -> None:
    cells = [cell_of(tmp_path, name) for name in ("slow", "slower", "waits")]
    files, heard = LabFiles(tmp_path), Heard()
    folders = [cell.directory / "evaluations.jsonl" for cell in cells[:2]]

    def stop_once_both_run() -> None:
        while not all(folder.exists() for folder in folders):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=stop_once_both_run, daemon=True).start()
    outcome = run_cells(cells, files, 2, heard)
    assert outcome.interrupted
    assert heard.stopped == 1
    assert heard.endings == {"slow-seed0": 130, "slower-seed0": 130}
    assert not run_cells(cells, files, 2, Heard()).interrupted
    assert all(state_of(cell).finished for cell in cells)


def test_a_lab_that_runs_isnt_run_again(tmp_path: Path) -> None:
    files = LabFiles(tmp_path)
    me = describe(os.getpid())
    files.say_running(Running(Process(1, 1.0, "elsewhere"), {"a-seed0": me}))
    with pytest.raises(BadInputError, match=rf"a-seed0 \(process {me.pid}\)"):
        check_free(files)


def test_a_later_process_of_the_same_number_isnt_the_lab(tmp_path: Path) -> None:
    files = LabFiles(tmp_path)
    me = describe(os.getpid())
    files.say_running(Running(Process(me.pid, me.started - 100.0, me.host), {}))
    check_free(files)
