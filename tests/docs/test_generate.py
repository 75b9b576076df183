from __future__ import annotations

from pathlib import Path

import pytest

import generate


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of docs/, and two short pages."""
    pages = {"recipe.md": lambda: "recipe\n", "cli.md": lambda: "commands\n"}
    monkeypatch.setattr(generate, "HERE", tmp_path)
    monkeypatch.setattr(generate, "PAGES", pages)
    return tmp_path


def test_the_pages_in_the_repository_are_up_to_date() -> None:
    assert not generate.stale_pages(generate.HERE), "run: python docs/generate.py"


def test_what_was_written_passes_the_check(folder: Path) -> None:
    generate.main()
    assert (folder / "recipe.md").read_text() == "recipe\n"
    generate.main(check=True)


@pytest.mark.parametrize("stale", ["recipe.md", "cli.md"])
def test_the_check_names_a_stale_page_and_the_command(
    folder: Path, stale: str, capsys: pytest.CaptureFixture[str]
) -> None:
    generate.main()
    capsys.readouterr()
    (folder / stale).write_text("old\n")
    with pytest.raises(SystemExit) as stop:
        generate.main(check=True)
    assert stop.value.code == 1
    message = f"out of date: docs/{stale}; run: python docs/generate.py\n"
    assert capsys.readouterr().err == message
    assert (folder / stale).read_text() == "old\n"


def test_a_missing_page_is_stale(folder: Path) -> None:
    assert set(generate.stale_pages(folder)) == {"recipe.md", "cli.md"}
