from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from marblecli.cli.train import ending
from marblecli.cli.train.ending import show_end
from marblecli.types import RewardChange

CHANGES = {
    "train": (RewardChange("ocr", 0.25, 0.5, 0.1, 0.3, 0.4, 0.6, 8),),
    "held-out": (RewardChange("ocr", 0.25, 0.2, -0.2, -0.01, 0.1, 0.3, 8),),
}


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    stream = StringIO()
    console = Console(file=stream, width=80, force_terminal=True, color_system=None)
    monkeypatch.setattr(ending, "out", console)
    return stream


def test_the_verdict_is_on_prompts_that_were_not_trained_on(
    screen: StringIO, tmp_path: Path
) -> None:
    show_end(tmp_path, CHANGES)
    first, *_ = screen.getvalue().splitlines()
    assert first == "On held-out prompts, ocr (-0.050) fell"
    for split in CHANGES:
        titles = [line.strip() for line in screen.getvalue().splitlines()]
        assert titles.count(f"{split} prompts") == 1


def test_only_what_is_there_is_named_and_each_once(screen: StringIO, tmp_path: Path) -> None:
    folder = tmp_path / "a run"
    (folder / "samples").mkdir(parents=True)
    (folder / "report.html").touch()
    show_end(folder, CHANGES)
    lines = screen.getvalue().splitlines()
    assert lines[-4:] == [
        f"run directory: {folder}",
        f"pictures: {folder / 'samples'}",
        f"report: {folder / 'report.html'}",
        f"next: marble inspect-conflicts '{folder}'",
    ]
    assert len(set(lines[-4:])) == 4
    assert not [line for line in lines if line.startswith("export")]


def test_a_run_without_evaluations_ends_with_its_places(screen: StringIO, tmp_path: Path) -> None:
    show_end(tmp_path, {})
    assert screen.getvalue().splitlines()[0] == f"run directory: {tmp_path}"
