"""Open a run: make its directory, or prepare it for going on."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from marblecli.cli.setup import Plan
from marblecli.cli.train.resumption import changes_of, evaluations_differ
from marblecli.engine.processes import Processes
from marblecli.errors import BadInputError
from marblecli.report.render import out, tell
from marblecli.runs.recorder import Resumption, RunRecorder
from marblecli.runs.recorders import Recorders
from marblecli.runs.run import Run
from marblecli.runs.tracking import make_trackers
from marblecli.runs.unrecorded import Unrecorded
from marblecli.types import EvaluationRecord, Snapshot


@dataclass(frozen=True)
class OpenRun:
    """A run that is about to train."""

    directory: Path
    recorder: Recorders
    saved: Snapshot | None = None
    """The state that the run is resumed from; None to start with the first step."""
    earlier: tuple[EvaluationRecord, ...] = ()
    """The evaluations that needn't be made again."""


def open_run(plan: Plan, run_dir: Path | None, resume: bool, processes: Processes) -> OpenRun:
    """Open the run in every process.

    The first process makes the run directory, or prepares it for resuming. All processes read the
    checkpoint.
    """
    if processes.first:
        recorder, saved = _resume(plan, run_dir) if resume else (_create(plan, run_dir), None)
        directory = processes.gather(recorder.run.directory)[0]
        recorders = Recorders(recorder, make_trackers(plan.recipe, directory, tell))
    else:
        directory = processes.gather(Path())[0]
        recorders = Recorders(Unrecorded())
        saved = _newest(Run.open(directory)) if resume else None
    earlier = Run(directory).evaluations() if resume else ()
    return OpenRun(directory, recorders, saved, earlier)


def command_to_go_on(directory: Path, processes: Processes) -> str:
    """The command that continues the run, as one types it."""
    command = shlex.join(["marble", "resume", str(directory)])
    return command if processes.count == 1 else f"{command} --num-processes {processes.count}"


def _create(plan: Plan, run_dir: Path | None) -> RunRecorder:
    name = plan.recipe.run.name
    directory = run_dir or Path("runs") / f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    return RunRecorder.create(directory, plan.recipe)


def _resume(plan: Plan, run_dir: Path | None) -> tuple[RunRecorder, Snapshot | None]:
    if run_dir is None:
        raise BadInputError("--resume needs --run-dir, the directory of the run to continue")
    run = Run.open(run_dir)
    changes = changes_of(run, plan)
    saved = _newest(run)
    step = 0 if saved is None else saved.step
    if plan.recipe.training.steps < step:
        raise BadInputError(
            f"training.steps: {plan.recipe.training.steps} is less than the {step} steps that "
            f"{run_dir} has made"
        )
    anew = evaluations_differ(changes)
    recorder = RunRecorder.resume(run, plan.recipe, Resumption(step, changes, anew))
    place = f"going on after step {step}" if step else "starting again: no step was saved"
    out.print(f"{place}, to step {plan.recipe.training.steps}", highlight=False)
    for key, (old, new) in changes.items():
        out.print(f"changed: {key} from {old} to {new}", markup=False, soft_wrap=True)
    if anew:
        out.print("evaluations differ from the earlier ones: the base model is evaluated again")
    return recorder, saved


def _newest(run: Run) -> Snapshot | None:
    """The newest checkpoint; None if the run was ended before its first."""
    found = run.checkpoints()
    return run.load_checkpoint(found[-1]) if found else None
