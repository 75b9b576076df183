from __future__ import annotations

import io

import pytest
from PIL import Image
from rich.console import Console

from marblecli.errors import BadInputError
from marblecli.pictures import terminal


def test_without_the_package_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(terminal, "find_spec", lambda name: None)
    with pytest.raises(BadInputError, match=r"pip install 'marblecli\[show\]'"):
        terminal.check_terminal()


def test_nothing_is_shown_where_there_is_no_terminal() -> None:
    file = io.StringIO()
    terminal.show_image(Image.new("RGB", (40, 20), "red"), Console(file=file))
    assert not file.getvalue()


def test_a_terminal_gets_the_picture() -> None:
    pytest.importorskip("textual_image")
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=20)
    terminal.show_image(Image.new("RGB", (40, 20), "red"), console)
    assert len(file.getvalue().splitlines()) >= 2
