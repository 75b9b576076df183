from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from marblecli.errors import BadInputError
from marblecli.runs.json_lines import append_line, finite, keep_until, read_lines, to_json

NAN, INF = float("nan"), float("inf")


def test_floats_that_arent_finite_become_null_at_any_depth() -> None:
    value = {"a": NAN, "b": [1.5, INF, {"c": (-INF, 2)}], "d": "NaN", "e": True}
    assert finite(value) == {"a": None, "b": [1.5, None, {"c": [None, 2]}], "d": "NaN", "e": True}
    assert json.loads(to_json(value))["b"] == [1.5, None, {"c": [None, 2]}]


def test_lines_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    assert read_lines(path) == []
    for step in (1, 2):
        append_line(path, {"step": step, "name": "é\n"})
    assert read_lines(path) == [{"step": 1, "name": "é\n"}, {"step": 2, "name": "é\n"}]


@pytest.mark.parametrize("torn", [b'{"step": 3', b'{"step": 3, "name": "\xc3', b'{"step": 3}'])
def test_a_torn_last_line_is_left_out_and_dropped(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "a.jsonl"
    append_line(path, {"step": 1})
    append_line(path, {"step": 2})
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert [line["step"] for line in read_lines(path)] == [1, 2]
    keep_until(path, 2)
    assert path.read_bytes() == whole


def test_later_lines_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for step in (0, 1, 2, 3):
        append_line(path, {"step": step})
    keep_until(path, 1)
    assert [line["step"] for line in read_lines(path)] == [0, 1]
    keep_until(tmp_path / "absent.jsonl", 1)
    assert not (tmp_path / "absent.jsonl").exists()


@pytest.mark.parametrize("broken", ["nonsense", "[1]", '{"stop": 1}'])
def test_another_broken_line_is_named(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"step": 1}}\n{broken}\n{{"step": 3}}\n')
    with pytest.raises(BadInputError, match="line 2: "):
        read_lines(path)


def test_a_write_cut_short_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    append_line(path, {"step": 1})
    whole = path.read_bytes()

    class FullDisk(io.FileIO):
        def write(self, data: object) -> int:
            return super().write(bytes(data)[:5])  # type: ignore[arg-type] # only bytes are written

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda self, mode, buffering: FullDisk(self, mode))
        with pytest.raises(OSError, match="No space left"):
            append_line(path, {"step": 2})
    assert path.read_bytes() == whole


def test_a_line_of_a_newer_version_is_named_and_older_ones_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"step": 1}\n{"schema": 1, "step": 2}\n{"schema": 2, "steps": 3}\n')
    with pytest.raises(BadInputError, match=r"a\.jsonl, line 3: has schema 2"):
        read_lines(path)
    path.write_text('{"step": 1}\n{"schema": 1, "step": 2}\n')
    assert [line["step"] for line in read_lines(path)] == [1, 2]
