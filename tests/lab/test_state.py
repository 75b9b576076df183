from __future__ import annotations

from pathlib import Path

import pytest

from marblecli.lab.state import seconds_left, state_of, states_of
from support.lab import cell_of, write_run


def test_a_cell_that_was_never_begun_has_nothing_to_resume(tmp_path: Path) -> None:
    state = state_of(cell_of(tmp_path, "equal"))
    assert (state.started, state.finished, state.steps) == (False, False, None)


@pytest.mark.parametrize(("step", "saved", "finished"), [(2, True, False), (4, True, True)])
def test_a_finished_cell_has_its_last_evaluation_and_checkpoint(
    tmp_path: Path, step: int, saved: bool, finished: bool
) -> None:
    cell = cell_of(tmp_path, "equal")
    write_run(cell, step, saved=saved)
    state = state_of(cell)
    assert (state.started, state.finished, state.step, state.steps) == (True, finished, step, 4)


def test_a_cell_that_was_killed_before_its_last_checkpoint_isnt_finished(tmp_path: Path) -> None:
    cell = cell_of(tmp_path, "equal")
    write_run(cell, 4, saved=False)
    assert not state_of(cell).finished


def test_evaluations_are_planned_after_so_many_steps_and_at_the_end(tmp_path: Path) -> None:
    cell = cell_of(tmp_path, "equal")
    write_run(cell, 1, every=3)
    assert state_of(cell).planned_evaluations == 3


def test_the_time_left_is_that_of_steps_and_evaluations(tmp_path: Path) -> None:
    """4 steps of .5 s and 2 evaluations of 2 s are 6 s; the second cell has half a second behind
    it, and an evaluation."""
    cells = [cell_of(tmp_path, name) for name in ("new", "begun", "done")]
    write_run(cells[1], 1)
    write_run(cells[2], 4)
    states = states_of(cells)
    assert seconds_left(states, jobs=1) == pytest.approx(6.0 + 3.5)
    # With any number at a time it takes as long as the longest cell.
    assert seconds_left(states, jobs=9) == pytest.approx(6.0)


def test_nothing_is_foretold_before_a_step(tmp_path: Path) -> None:
    assert seconds_left(states_of([cell_of(tmp_path, "new")]), jobs=1) is None
