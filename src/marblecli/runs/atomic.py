"""Files and folders that are complete or absent, whenever the process is killed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from marblecli.errors import MarbleError

_UNFINISHED = ".unfinished-"
_REPLACED = ".replaced-"
_ADVICE = "what was saved before is whole: continue with marble resume"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; on leaving, what is there takes its place.

    It may be a file or a folder. If the block raises, ``path`` stays as it was and nothing is left
    of the draft.
    """
    draft = path.with_name(_UNFINISHED + path.name)
    remove(draft)
    try:
        yield draft
        _sync(draft)
        _swap(draft, path)
    finally:
        remove(draft)
    _sync_entry(path.parent)


@contextmanager
def explaining_failure(path: Path, advice: str = _ADVICE) -> Iterator[None]:
    """Turn a failed write of ``path`` into a MarbleError of one line that ends with ``advice``."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise MarbleError(f"can't write {path}: {reason}; {advice}") from error


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file so that it is complete or absent."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def discard(folder: Path) -> None:
    """Delete a folder so that no half of it is ever seen under its name."""
    doomed = folder.with_name(_UNFINISHED + folder.name)
    remove(doomed)
    folder.replace(doomed)
    remove(doomed)


def restore_replaced(folder: Path) -> None:
    """Undo the replacement of a folder that a killed process left half done."""
    for entry in folder.glob(_REPLACED + "*"):
        original = entry.with_name(entry.name.removeprefix(_REPLACED))
        if not original.exists():
            entry.replace(original)


def clean_up(folder: Path) -> None:
    """Delete what a killed process left in ``folder``; no other process may be writing there."""
    restore_replaced(folder)
    for prefix in (_UNFINISHED, _REPLACED):
        for entry in folder.glob(prefix + "*"):
            remove(entry)


def remove(path: Path) -> None:
    """Delete a file or a folder, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _swap(draft: Path, path: Path) -> None:
    if not path.is_dir():
        draft.replace(path)
        return
    # A folder can't be renamed over a full one; restore_replaced() undoes a kill in between.
    aside = path.with_name(_REPLACED + path.name)
    path.replace(aside)
    try:
        draft.replace(path)
    except OSError:
        aside.replace(path)
        raise
    remove(aside)


def _sync(path: Path) -> None:
    if path.is_dir():
        for entry in path.iterdir():
            _sync(entry)
    _sync_entry(path)


def _sync_entry(path: Path) -> None:
    """Flush one file or one folder's list of names to the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows can't open a folder.
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
