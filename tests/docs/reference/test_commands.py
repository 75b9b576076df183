from __future__ import annotations

import pytest

from reference.commands import commands_page


def test_every_command_and_sub_command_is_there() -> None:
    page = commands_page()
    for command in ("train", "eval", "solve", "inspect-conflicts", "rewards list", "rewards new"):
        assert f"## `marble {command}`" in page


def test_options_have_their_value_help_and_default() -> None:
    row = next(line for line in commands_page().splitlines() if "--num-processes" in line)
    assert row.startswith("| `--num-processes")
    assert "Processes on this machine" in row
    assert "[default: 1; x>=1]" in row


def test_the_width_of_the_terminal_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERMINAL_WIDTH", "40")
    narrow = commands_page()
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    assert commands_page() == narrow
