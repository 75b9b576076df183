from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.conftest import Marble

RunAndTell = Callable[..., tuple[str, set[str]]]


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    (run / "report.html").unlink(missing_ok=True)
    return run


def test_a_page_is_written_and_its_verdict_shown(marble: Marble, run: Path) -> None:
    shown = marble("report", run)
    page = run / "report.html"
    assert shown.code == 0
    assert shown.out.startswith("After 4 steps, ")
    assert f"report: {page}" in shown.out.replace("\n", "")
    assert "<svg" in page.read_text(encoding="utf-8")


def test_several_runs_are_compared_where_one_is(
    marble: Marble, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = marble("report", run, run)
    assert shown.out.startswith("B doesn't differ significantly from A")
    assert "2 runs compared" in (tmp_path / "comparison.html").read_text(encoding="utf-8")
    marble("report", run, run, "--output", "other.html")
    assert (tmp_path / "other.html").is_file()
    assert not (run / "report.html").exists()


def test_what_the_user_can_mistake_is_one_line(marble: Marble, run: Path, tmp_path: Path) -> None:
    for arguments, text in (
        ([tmp_path / "absent"], "is no run directory"),
        ([run, "-o", tmp_path / "absent" / "a.html"], "no such folder"),
        ([run, tmp_path / "absent"], "is no run directory"),
    ):
        shown = marble("report", *arguments)
        assert shown.code == 2
        assert text in shown.err
        assert shown.err.count("\n") == 1


def test_it_starts_without_torch(run_and_tell: RunAndTell, run: Path) -> None:
    heavy = {"torch", "diffusers", "transformers", "accelerate", "peft"}
    assert not run_and_tell("report", run)[1] & heavy
