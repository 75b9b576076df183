from __future__ import annotations

import signal

import pytest

from marblecli.cli.train.stop import stop_on_signal
from marblecli.engine.processes import Processes


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_stops_at_once(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_signal(Processes()) as should_stop:
        assert not should_stop()
        signal.raise_signal(number)
        assert should_stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_one_of_several_processes_stops_when_the_launcher_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    parents = iter([7, 7, 1])
    monkeypatch.setattr("os.getppid", lambda: next(parents))
    with stop_on_signal(Processes(1, 2)) as should_stop:
        assert [should_stop(), should_stop()] == [False, True]
    for number, handler in before.items():
        assert signal.getsignal(number) is signal.SIG_IGN
        signal.signal(number, handler)
