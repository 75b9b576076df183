from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = (
    "from marblecli.report.render import log, out\n"
    "out.print('x' * 130)\n"
    "log.print('[red]said[/red]')\n"
)
TELL = "from marblecli.report.render import tell; tell('[red]' + 'x ' * 100)"


def printed(code: str = CODE, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.parametrize(("columns", "width"), [({}, 120), ({"COLUMNS": "50"}, 50)])
def test_a_pipe_has_a_width_of_its_own(columns: dict[str, str], width: int) -> None:
    assert max(map(len, printed(**columns).stdout.splitlines())) == width


def test_results_go_to_stdout_and_everything_else_to_stderr() -> None:
    shown = printed()
    assert "said" not in shown.stdout
    assert shown.stderr == "said\n"


def test_a_told_line_is_not_broken_and_has_no_markup() -> None:
    shown = printed(TELL, COLUMNS="50")
    assert (shown.stdout, shown.stderr.rstrip()) == ("", "[red]" + "x " * 99 + "x")


def test_only_the_first_process_of_a_run_prints() -> None:
    shown = printed(RANK="1", LOCAL_RANK="1", WORLD_SIZE="2")
    assert (shown.stdout, shown.stderr) == ("", "")
