from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from marblecli.errors import MarbleError
from marblecli.runs.exports import ExportWriter, exported, write_card


def test_what_fails_its_check_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "export" / "x.safetensors"
    with exported(path) as draft:
        ExportWriter().tensors(draft, {"a": torch.ones(2)}, {"base": "me/model"})
    before = path.read_bytes()
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"format": "pt", "base": "me/model"}
    with pytest.raises(MarbleError, match="check"):
        _write_and_fail(path)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def _write_and_fail(path: Path) -> None:
    with exported(path) as draft:
        ExportWriter().tensors(draft, {"a": torch.zeros(2)}, {})
        raise MarbleError("the check failed")


def test_a_failed_write_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MarbleError, match=r"can't write .*--output"):
        write_card(tmp_path / "file" / "folder", "text")
    assert write_card(tmp_path, "text").read_text() == "text"
