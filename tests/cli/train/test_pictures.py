from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from marblecli.cli.train import pictures


def test_the_strip_comes_before_what_changed_most(finished_run: Path) -> None:
    found = pictures.pictures_of(finished_run, 4)
    assert [picture.kind for picture in found] == ["prompts", "changed"]
    assert pictures.pictures_of(finished_run, 3) == []


def test_the_paths_are_told_by_the_first_process_only(
    finished_run: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures.tell_pictures(finished_run, 4)
    samples = finished_run / "samples"
    assert capfd.readouterr().out.splitlines() == [
        f"pictures: {samples / 'step-000004.png'}",
        f"pictures: {samples / 'step-000004-changed.png'}",
    ]
    monkeypatch.setattr(pictures, "out", Console(quiet=True))
    pictures.tell_pictures(finished_run, 4)
    assert not capfd.readouterr().out


def test_the_last_pictures_are_shown(finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    monkeypatch.setattr(pictures, "show_image", lambda image, console: sizes.append(image.size))
    pictures.show_last_pictures(finished_run)
    assert len(sizes) == 2
