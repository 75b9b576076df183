from __future__ import annotations

from pathlib import Path

import pytest

from marblecli.cli.train.opening import command_to_go_on
from marblecli.engine.processes import Processes


@pytest.mark.parametrize(
    ("directory", "processes", "command"),
    [
        ("runs/tiny", Processes(), "marble resume runs/tiny"),
        ("my runs/tiny", Processes(), "marble resume 'my runs/tiny'"),
        ("runs/tiny", Processes(0, 4), "marble resume runs/tiny --num-processes 4"),
    ],
)
def test_the_command_can_be_pasted(directory: str, processes: Processes, command: str) -> None:
    assert command_to_go_on(Path(directory), processes) == command
