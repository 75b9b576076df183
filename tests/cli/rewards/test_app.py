from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from marblecli.cli.rewards.app import rewards_app

COMMANDS = ("list", "check", "new", "download", "serve")


def test_every_command_says_what_it_does(marble: Callable[..., Any]) -> None:
    shown = marble("rewards", "--help")
    assert shown.code == 0
    assert [command.name for command in rewards_app.registered_commands] == list(COMMANDS)
    for command in rewards_app.registered_commands:
        assert command.callback is not None
        assert str(command.callback.__doc__).splitlines()[0].partition(",")[0] in shown.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_help(marble: Callable[..., Any], command: str) -> None:
    assert marble("rewards", command, "--help").code == 0
