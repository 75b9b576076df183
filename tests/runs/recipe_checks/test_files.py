from __future__ import annotations

from pathlib import Path

from support.recipes import problems


def test_prompt_files_must_be_of_a_known_kind(folder: Path) -> None:
    (folder / "p.csv").write_text("x")
    (line,) = problems(folder, "prompts.ocr.eval=p.csv")
    assert line == f"prompts.ocr.eval: must be .jsonl or .txt: {folder / 'p.csv'}"


def test_a_missing_file_is_named_beside_a_source_that_is_no_table(folder: Path) -> None:
    assert problems(folder, "prompts.ocr=3", "prompts.plain.train=none.txt") == [
        "prompts.ocr: expected a table, got 3",
        f"prompts.plain.train: no such file: {folder / 'none.txt'}",
    ]
