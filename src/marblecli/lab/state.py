"""How far each cell is, from its run directory alone, whoever runs it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from marblecli.lab.grid import Cell
from marblecli.runs.checkpoints import checkpoint_name
from marblecli.runs.recipe import read_table
from marblecli.runs.run import Run


@dataclass(frozen=True)
class CellState:
    """How far a cell is."""

    cell: Cell
    started: bool
    """Whether there is a run to resume."""
    finished: bool
    step: int = 0
    steps: int | None = None
    """Those that the run will make; None before it has started."""
    step_seconds: tuple[float, ...] = ()
    evaluations: int = 0
    """Made so far, that of the base model included."""
    planned_evaluations: int | None = None
    evaluation_seconds: tuple[float, ...] = ()


def state_of(cell: Cell) -> CellState:
    """Read the cell's run directory. Raises BadInputError, which names the file that is broken."""
    run = Run(cell.directory)
    if not run.recipe_file.is_file():
        return CellState(cell, started=False, finished=False)
    table = read_table(run.recipe_file)
    steps, every = table["training"]["steps"], table["eval"]["every"]
    metrics, evaluations = run.metrics(), run.evaluations()
    last = any(each.subject == "trained" and each.step == steps for each in evaluations)
    # The evaluation is written before the checkpoint of the same step.
    saved = (run.checkpoints_folder / checkpoint_name(steps)).is_dir()
    return CellState(
        cell,
        started=True,
        finished=last and saved,
        step=max((line["step"] for line in metrics), default=0),
        steps=steps,
        step_seconds=tuple(line["seconds"] for line in metrics if "seconds" in line),
        evaluations=len(evaluations),
        planned_evaluations=1 + (-(-steps // every) if every else 1),
        evaluation_seconds=tuple(e.seconds for e in evaluations if e.seconds is not None),
    )


def states_of(cells: Sequence[Cell]) -> tuple[CellState, ...]:
    """The state of every cell."""
    return tuple(state_of(cell) for cell in cells)


def seconds_left(states: Sequence[CellState], jobs: int) -> float | None:
    """How long ``jobs`` cells at a time will still take; None before a step has been timed.

    A cell's steps and evaluations take as long as its own so far, or as those of the others.
    """
    steps = [seconds for state in states for seconds in state.step_seconds]
    evaluations = [seconds for state in states for seconds in state.evaluation_seconds]
    planned = [(s.steps, s.planned_evaluations) for s in states if s.steps is not None]
    if not (steps and planned):
        return None
    work = []
    for state in states:
        if state.finished:
            continue
        most, counted = (state.steps, state.planned_evaluations) if state.steps else planned[0]
        work.append(
            ((most or 0) - state.step) * statistics.fmean(state.step_seconds or steps)
            + max((counted or 0) - state.evaluations, 0)
            * statistics.fmean(state.evaluation_seconds or evaluations or [0.0])
        )
    # The last cells leave processors idle: no lab ends before its longest cell.
    return max([sum(work) / jobs, *work], default=0.0)
