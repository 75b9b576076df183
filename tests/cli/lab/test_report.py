from __future__ import annotations

import json
from pathlib import Path

import pytest

from marblecli.cli.lab.report import report
from marblecli.lab.grid import make_cells
from marblecli.lab.recipe import load_lab
from marblecli.runs.lab_files import LabFiles
from support.lab_results import write_cells


def test_the_comparison_is_written_and_its_first_table_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "base.toml").write_text("[rewards.a]\n[rewards.b]\n")
    source = tmp_path / "lab.toml"
    source.write_text('recipe = "base.toml"\nseeds = [0, 1]\n[methods.marble]\n[methods.equal]\n')
    lab, files = load_lab(source), LabFiles(tmp_path / "out")
    cells = make_cells(lab, files.folder)
    write_cells(cells[:3])
    report(lab, cells, files)
    shown = capsys.readouterr()
    assert "missing: equal-seed1 isn't finished" in shown.err
    assert "marble serves its worst-off reward best" in " ".join(shown.out.split())
    assert "worst share" in shown.out
    found = json.loads(files.json.read_text())
    assert found["methods"]["marble"]["seeds"] == [0, 1]
    assert found["methods"]["equal"]["seeds"] == [0]
    assert files.markdown.read_text().count("###") >= 5
    assert "<svg" in files.page.read_text()
