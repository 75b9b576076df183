from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from marblecli.cli.train import page
from marblecli.cli.train.page import update_page


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def test_a_run_leaves_its_page(finished_run: Path) -> None:
    assert "After 4 steps" in (finished_run / "report.html").read_text(encoding="utf-8")


def test_a_page_is_written_after_each_evaluation(
    train_tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    def update(directory: Path) -> bool:
        written = update_page(directory)
        found.append((directory / "report.html").read_text(encoding="utf-8"))
        return written

    monkeypatch.setattr("marblecli.cli.train.run.update_page", update)
    train_tiny(tmp_path / "run", "eval.every=2")
    assert len(found) == 3
    assert "weren&#39;t both evaluated" in found[0]
    assert "2 of 4 optimizer steps so far" in found[1]
    assert "After 4 steps" in found[2]


def test_a_full_disk_is_one_line_and_leaves_the_page_before(
    run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (run / "report.html").write_text("before")
    monkeypatch.setattr("marblecli.runs.atomic._sync", full)
    assert not update_page(run)
    (line,) = capfd.readouterr().err.splitlines()
    assert "the page of the run wasn't written: can't write" in line
    assert "No space left" in line
    assert (run / "report.html").read_text() == "before"


@pytest.mark.parametrize("error", [ValueError("a fault\nof ours"), KeyError("name"), MemoryError()])
def test_no_fault_of_the_page_ends_the_run(
    run: Path,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(page, "write_report", fail)
    assert not update_page(run)
    assert len(capfd.readouterr().err.splitlines()) == 1
