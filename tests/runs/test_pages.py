from __future__ import annotations

from pathlib import Path

import pytest

from marblecli.errors import BadInputError, MarbleError
from marblecli.runs.pages import check_page, write_page


def test_a_page_is_written_whole(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text("old")
    write_page(file, "<p>héllo</p>")
    assert file.read_text(encoding="utf-8") == "<p>héllo</p>"
    assert list(tmp_path.iterdir()) == [file]


def test_a_page_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "report.html"
    file.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("marblecli.runs.atomic._sync", full)
    with pytest.raises(MarbleError, match=r"can't write .*No space left.*another file"):
        write_page(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(("place", "message"), [("absent/a.html", "no such folder"), ("", "is a")])
def test_a_place_that_holds_no_page_is_refused_at_once(
    tmp_path: Path, place: str, message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        check_page(tmp_path / place)
