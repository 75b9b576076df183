from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from marblecli.lab import workers
from marblecli.lab.state import state_of
from marblecli.lab.workers import (
    Worker,
    become,
    describe,
    detach,
    environment,
    is_alive,
    threads_each,
)
from marblecli.runs.lab_files import LabFiles
from support.lab import cell_of, pretender


def test_cells_share_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert [threads_each(jobs) for jobs in (1, 3, 8, 20)] == [8, 2, 1, 1]


def test_the_users_own_number_of_threads_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert environment(3)["OMP_NUM_THREADS"] == "3"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert environment(3)["OMP_NUM_THREADS"] == "5"


def test_a_killed_worker_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "MARBLE", pretender(tmp_path))
    files = LabFiles(tmp_path)
    files.make()
    worker = Worker(state_of(cell_of(tmp_path, "slow")), files, threads=1)
    assert is_alive(worker.process)
    worker.kill()
    assert worker.ended() is not None
    assert not is_alive(worker.process)


def test_a_process_that_is_gone_isnt_alive() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert not is_alive(describe(gone.pid))


def test_what_runs_apart_writes_the_labs_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "MARBLE", (sys.executable, "-c", "import sys; print(sys.argv)"))
    files = LabFiles(tmp_path)
    process = detach(["lab", "x"], files)
    while is_alive(process):
        time.sleep(0.02)
    assert "['-c', 'lab', 'x']" in files.log.read_text()


def test_a_single_cell_takes_this_processs_place(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(os, "execve", lambda *each: called.append(each))
    become(["resume", "x"], 2)
    ((program, arguments, _),) = called
    assert program == sys.executable
    assert arguments[-2:] == ["resume", "x"]
