from __future__ import annotations

from pathlib import Path

import pytest
import typer

import quickstart
from marblecli.runs.evaluations import evaluation_to_json
from marblecli.runs.json_lines import append_line
from marblecli.runs.run import Run
from marblecli.runs.samples import save_samples
from support.pictures import evaluation, images_of

PROMPTS = {"train": [("a cat", "plain"), ("a dog", "plain")]}
BASE = evaluation(0, PROMPTS, 2, lambda split, place, number: {"x": float(number)})
AFTER = evaluation(9, PROMPTS, 2, lambda split, place, number: {"x": number + 0.25 + place / 4})
README = """# before
<!-- the quickstart's picture -->
old picture
<!-- end of the picture -->
between
<!-- the quickstart's tables -->
old table
<!-- end of the tables -->
after
"""


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "samples"
    folder.mkdir(parents=True)
    (folder.parent / "recipe.toml").write_text("")
    for record in (BASE, AFTER):
        append_line(folder.parent / "evaluations.jsonl", evaluation_to_json(record))
        save_samples(folder, BASE, record, images_of(record, 8, 8, record.step))
    return folder.parent


def test_the_readme_gets_what_the_run_shows_and_nothing_else_is_changed(
    run_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_text(README)
    quickstart.main(run_dir, tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "old" not in text
    assert "after 9 steps" in text
    assert "│ x      │ 0.500 │ 0.875 │ +0.375 │" in text
    assert text.startswith("# before\n<!-- the quickstart's picture -->\n![Images of")
    assert text.endswith("```\n<!-- end of the tables -->\nafter\n")
    assert (tmp_path / "docs" / "images" / "quickstart.png").exists()
    quickstart.main(run_dir, tmp_path)
    assert (tmp_path / "README.md").read_text() == text


def test_a_run_that_is_not_finished_is_refused(run_dir: Path) -> None:
    lines = (run_dir / "evaluations.jsonl").read_text().splitlines()
    (run_dir / "evaluations.jsonl").write_text(lines[0] + "\n")
    with pytest.raises(typer.BadParameter, match="isn't finished"):
        quickstart.last_changes(Run.open(run_dir))


def test_a_text_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="one part between"):
        quickstart.replace_part("no mark", ("<a>", "<b>"), "new")


def test_the_readme_has_the_marks() -> None:
    text = (quickstart.ROOT / "README.md").read_text(encoding="utf-8")
    for marks in (quickstart._PICTURE, quickstart._TABLES):
        assert quickstart.replace_part(text, marks, "") != text
