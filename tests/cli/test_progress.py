from __future__ import annotations

import sys
import time
from io import StringIO

import pytest
from rich.console import Console

from marblecli.cli.progress import Work, format_rate, showing_work
from marblecli.errors import StopRequestedError
from marblecli.progress import listening, work


def console(width: int = 80, *, terminal: bool) -> tuple[Console, StringIO]:
    stream = StringIO()
    return Console(file=stream, width=width, force_terminal=terminal, color_system=None), stream


def test_short_work_isnt_mentioned_where_there_is_no_terminal() -> None:
    screen, stream = console(terminal=False)
    with showing_work(screen), work("sampling", 100, "images") as advance:
        for _ in range(100):
            advance(1)
    assert stream.getvalue() == ""


def test_long_work_is_mentioned_at_a_bounded_rate_in_plain_lines() -> None:
    screen, stream = console(terminal=False)
    with listening(Work(screen, first=0.05, again=0.2)), work("sampling", 50, "images") as advance:
        for _ in range(50):
            time.sleep(0.01)
            advance(1)
    lines = stream.getvalue().splitlines()
    # In half a second at least; a busy machine takes longer and has more to say.
    assert 2 <= len(lines) <= 50 / 4
    for line in lines:
        assert line.startswith("sampling: ")
        assert "/50 images" in line
        assert "\r" not in line
        assert "\x1b" not in line
    assert "/s  0:00:0" in lines[-1]


def test_work_that_reports_nothing_for_long_is_mentioned_too() -> None:
    screen, stream = console(terminal=False)
    with listening(Work(screen, first=0.05, again=60.0)), work("loading the model"):
        time.sleep(0.4)
    assert stream.getvalue() == "loading the model: 0:00:00\n"


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_terminals_line_is_never_wider_than_the_terminal(width: int) -> None:
    screen, stream = console(width, terminal=True)
    shown = Work(screen)
    with listening(shown), work("trained on held-out prompts: sampling", 960, "images") as advance:
        for _ in range(3):
            time.sleep(0.01)
            advance(100)
        screen.print(shown)
    (line,) = stream.getvalue().splitlines()
    assert len(line) <= width - 3, "there is room for ^C"
    assert "300/960 images" in line


def test_a_download_is_shown_in_sizes() -> None:
    screen, stream = console(terminal=True)
    shown = Work(screen)
    with listening(shown), work("downloading", 5_000_000_000, "bytes") as advance:
        advance(1_200_000_000)
        screen.print(shown)
    assert "1.2 GB/5.0 GB" in stream.getvalue()


def test_nothing_of_the_work_is_left_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, stream = console(terminal=True)
    with showing_work(screen):
        with work("loading"):
            pass
        screen.print("a result")
    hide, show = "\x1b[?25l", "\x1b[?25h"
    assert stream.getvalue().rindex(show) > stream.getvalue().rindex(hide)
    assert "a result" in stream.getvalue()


def test_ctrl_c_says_how_to_start_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/marble", "eval", "my run"])
    screen, _ = console(terminal=True)
    with pytest.raises(StopRequestedError) as caught, showing_work(screen):
        raise KeyboardInterrupt
    assert str(caught.value) == "interrupted\nstart again with: marble eval 'my run'"
    assert caught.value.exit_code == 130


@pytest.mark.parametrize(
    ("rate", "text"), [(1234.5, "1234"), (12.345, "12.3"), (0.25, "0.25"), (0.0001, "0.000100")]
)
def test_a_rate_has_no_exponent(rate: float, text: str) -> None:
    assert format_rate(rate) == text
