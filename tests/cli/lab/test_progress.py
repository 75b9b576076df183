from __future__ import annotations

from pathlib import Path

import pytest

from marblecli.cli.lab.progress import CellsDisplay, summary
from marblecli.lab.state import CellState, states_of
from support.lab import cell_of, write_run


@pytest.fixture
def states(tmp_path: Path) -> tuple[CellState, ...]:
    cells = [cell_of(tmp_path, name) for name in ("done", "begun", "new")]
    write_run(cells[0], 4)
    write_run(cells[1], 2)
    return states_of(cells)


def test_the_summary_counts_cells_and_says_the_time_left(states: tuple[CellState, ...]) -> None:
    assert summary(states, 3, 750.2) == "1 of 3 cells are finished; 0:12:30 left"
    assert summary(states, 3, None) == "1 of 3 cells are finished"


def test_without_a_terminal_lines_are_printed(
    states: tuple[CellState, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with CellsDisplay(3) as display:
        display.began(states[2])
        display.began(states[1])
        running = [states[1].cell, states[2].cell]
        display.progress(states, running, 60.0)
        display.progress(states, running, 59.0)
        display.stopping()
        display.ended(states[1].cell, 130)
        display.ended(states[2].cell, 1)
        display.ended(states[2].cell, 0)
    assert capsys.readouterr().out.splitlines() == [
        "new-seed0 begins",
        "begun-seed0 goes on after step 2",
        "1 of 3 cells are finished; 0:01:00 left; begun-seed0 step 2 of 4; new-seed0 loading",
        "stopping; every cell saves its last whole step (Ctrl-C again to stop at once)",
        "begun-seed0 is interrupted, and can go on",
        "new-seed0 has failed (exit code 1)",
        "new-seed0 is finished",
    ]
