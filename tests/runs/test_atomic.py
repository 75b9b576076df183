from __future__ import annotations

import errno
from pathlib import Path

import pytest

from marblecli.errors import MarbleError
from marblecli.runs import atomic
from marblecli.runs.atomic import (
    clean_up,
    discard,
    explaining_failure,
    replacing,
    restore_replaced,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_replaces_the_older_one(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new"
    assert names(tmp_path) == ["a"]


def test_nothing_is_seen_before_the_block_ends(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as draft:
        draft.write_text("new")
        assert not (tmp_path / "a").exists()
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_failed_write_leaves_the_older_one(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    for text in ("old", "new"):
        try:
            with replacing(path) as draft:
                file = draft / "f" if kind == "folder" else draft
                file.parent.mkdir(exist_ok=True)
                file.write_text(text)
                if text == "new":
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            pass
    assert (path / "f" if kind == "folder" else path).read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_a_folder_replaces_a_full_one(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with replacing(tmp_path / "a") as draft:
            draft.mkdir()
            (draft / name).write_text(name)
    assert names(tmp_path / "a") == ["two"]
    assert names(tmp_path) == ["a"]


def test_a_replacement_that_fails_halfway_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").touch()
    rename = Path.replace

    def fail_for_drafts(self: Path, target: Path) -> Path:
        if self.name.startswith(".unfinished-"):
            raise OSError(errno.EIO, "input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", fail_for_drafts)
    with pytest.raises(OSError, match="input/output"), replacing(tmp_path / "a") as draft:
        draft.mkdir()
    assert names(tmp_path / "a") == ["old"]
    assert names(tmp_path) == ["a"]


def test_a_replacement_killed_halfway_is_undone_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").touch()
    (tmp_path / "a").rename(tmp_path / ".replaced-a")
    (tmp_path / ".unfinished-a").mkdir()
    restore_replaced(tmp_path)
    assert names(tmp_path / "a") == ["old"]
    clean_up(tmp_path)
    assert names(tmp_path) == ["a"]


def test_clean_up_keeps_the_new_folder_of_a_finished_replacement(tmp_path: Path) -> None:
    for name in ("a", ".replaced-a"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "new").touch()
    clean_up(tmp_path)
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["new"]


def test_a_discarded_folder_loses_its_name_before_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "f").touch()

    def die(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic.shutil, "rmtree", die)
    with pytest.raises(KeyboardInterrupt):
        discard(tmp_path / "a")
    assert names(tmp_path) == [".unfinished-a"]


def test_a_failure_is_explained_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(MarbleError) as caught, explaining_failure(tmp_path / "a", "buy a disk"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(caught.value) == f"can't write {tmp_path / 'a'}: No space left on device; buy a disk"
