from __future__ import annotations

from pathlib import Path

import pytest

from marblecli.errors import BadInputError
from marblecli.runs.prompts import load_prompts
from marblecli.types import Prompt


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_text_is_a_prompt_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", 'A sign "Hi"\n\n  a cat  \r\na dog')
    assert load_prompts(path, "ocr") == (
        Prompt('A sign "Hi"', "ocr"),
        Prompt("a cat", "ocr"),
        Prompt("a dog", "ocr"),
    )


def test_unusual_characters_inside_a_line_dont_split_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one\u2028prompt\x0bonly\n")
    assert [prompt.text for prompt in load_prompts(path, "s")] == ["one\u2028prompt\x0bonly"]


def test_a_byte_order_mark_is_no_part_of_the_prompt(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfa cat\n")
    assert load_prompts(path, "s")[0].text == "a cat"


def test_other_fields_of_json_lines_are_metadata(tmp_path: Path) -> None:
    line = '{"tag": "counting", "include": [{"class": "cup", "count": 2}], "prompt": "two cups"}'
    (prompt,) = load_prompts(write(tmp_path / "a.jsonl", line + "\n\n"), "geneval")
    assert prompt.text == "two cups"
    assert prompt.source == "geneval"
    assert prompt.metadata == {"tag": "counting", "include": [{"class": "cup", "count": 2}]}


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('{"prompt": "x"', "isn't JSON"),
        ('{"prompt": "x", "score": NaN}', "NaN"),
        ('["x"]', 'expected an object, got ["x"]'),
        ('{"text": "x"}', '"prompt" must be text, got null'),
        ('{"prompt": 3}', '"prompt" must be text, got 3'),
        ('{"prompt": "  "}', '"prompt" must be text'),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, fault: str) -> None:
    path = write(tmp_path / "a.jsonl", '\n{"prompt": "fine"}\n' + line)
    with pytest.raises(BadInputError) as caught:
        load_prompts(path, "s")
    assert f"{path}, line 3: " in str(caught.value)
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cant_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="No such file"):
        load_prompts(tmp_path / "none.txt", "s")
    with pytest.raises(BadInputError, match=r"\.jsonl or \.txt, not '\.csv'"):
        load_prompts(write(tmp_path / "a.csv", "x"), "s")
    with pytest.raises(BadInputError, match="holds no prompt"):
        load_prompts(write(tmp_path / "a.txt", "\n \n"), "s")
    (tmp_path / "b.txt").write_bytes(b"caf\xe9")
    with pytest.raises(BadInputError, match=r"isn't UTF-8 text \(byte 3\)"):
        load_prompts(tmp_path / "b.txt", "s")
