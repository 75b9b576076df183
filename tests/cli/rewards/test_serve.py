from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

Marble = Callable[..., Any]

SERVE = """
import signal, sys
from marblecli.cli.main import main

# A shell that runs the tests in the background has them ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv[0] = "marble"
main()
"""


def test_a_reward_is_served_until_ctrl_c() -> None:
    command = [sys.executable, "-c", SERVE, "rewards", "serve", "shapes-aesthetic", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(
            r"serving shapes-aesthetic at (http://127\.0\.0\.1:\d+); stop with Ctrl-C\n", line
        )
        assert found, line
        with urllib.request.urlopen(found[1] + "/v1/reward", timeout=30) as answer:  # noqa: S310
            assert json.load(answer)["reward"] == "shapes-aesthetic"
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(30) == 0
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["shapes-kolour"], 2, "unknown reward 'shapes-kolour'"),
        (["shapes-letters", "--set", "scoring=hard"], 2, "rewards.shapes-letters.scoring: must be"),
        (["shapes-letters", "--device", "gpu"], 2, "rewards.shapes-letters.device: must be cpu"),
        (["shapes-letters", "--device", "cuda:64"], 2, "rewards.shapes-letters.device: there is"),
        (["shapes-letters", "--host", "192.0.2.1"], 1, "can't serve at 192.0.2.1:8400: "),
    ],
)
def test_what_cant_be_served_is_one_line(
    marble: Marble, arguments: list[str], code: int, reason: str
) -> None:
    shown = marble("rewards", "serve", *arguments)
    assert shown.code == code
    assert shown.err.startswith(f"marble: {reason}")
    assert len(shown.err.splitlines()) == 1
