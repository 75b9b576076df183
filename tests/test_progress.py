from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from marblecli.errors import StopRequestedError
from marblecli.progress import (
    Advance,
    check,
    check_alone,
    labelled,
    listening,
    stopping_when,
    work,
)


class Noted:
    """A listener that notes everything."""

    def __init__(self) -> None:
        self.log: list[object] = []

    @contextmanager
    def work(self, what: str, total: int | None, unit: str) -> Iterator[Advance]:
        self.log.append((what, total, unit))
        try:
            yield self.log.append
        finally:
            self.log.append("end")


def test_without_a_listener_nothing_happens() -> None:
    with work("sampling", 3, "images") as advance:
        advance(3)
        check()
        check_alone()


def test_a_listener_is_told_what_is_done_and_when_it_ends_also_by_an_error() -> None:
    def fail() -> None:
        with listening(noted), work("sampling", 3, "images") as advance:
            advance(2)
            raise KeyError

    noted = Noted()
    with pytest.raises(KeyError):
        fail()
    with work("scoring"):
        pass
    assert noted.log == [("sampling", 3, "images"), 2, "end"]


def test_a_part_of_the_work_may_be_kept_from_the_listener() -> None:
    noted = Noted()
    with listening(noted):
        with listening(None), work("planning", 3, "images") as advance:
            advance(1)
        with work("sampling"):
            pass
    assert [entry[0] for entry in noted.log if isinstance(entry, tuple)] == ["sampling"]


def test_a_label_stands_before_the_work() -> None:
    noted = Noted()
    with listening(noted):
        with labelled("base on train prompts"), work("sampling"):
            pass
        with work("sampling"):
            pass
    assert [line for line in noted.log if line != "end"] == [
        ("base on train prompts: sampling", None, ""),
        ("sampling", None, ""),
    ]


def test_threads_tell_nobody() -> None:
    """A reward scores in a thread of its own, while the main thread shows the sampling."""

    def score() -> None:
        with work("scoring"):
            pass

    noted = Noted()
    with listening(noted):
        thread = threading.Thread(target=score)
        thread.start()
        thread.join()
    assert noted.log == []


def test_a_process_alone_stops_wherever_it_may() -> None:
    asked: list[int] = []
    with stopping_when(lambda: bool(asked)):
        check()
        check_alone()
        asked.append(1)
        for stop in (check, check_alone):
            with pytest.raises(StopRequestedError) as caught:
                stop()
            assert caught.value.exit_code == 130
    check()


def test_one_of_several_processes_stops_only_where_all_agree() -> None:
    with stopping_when(lambda: True, alone=False):
        check_alone()
        with pytest.raises(StopRequestedError):
            check(lambda flag: flag)
    with pytest.raises(StopRequestedError):
        # Another process was asked to stop.
        check(lambda flag: True)
