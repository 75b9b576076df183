"""Run ``marble train``, once its recipe has been checked."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from marblecli.cli.export.run import export_finished
from marblecli.cli.initial import start_from_adapter
from marblecli.cli.launch import check_processes
from marblecli.cli.setup import Plan, build_suite, evaluation_splits
from marblecli.cli.train.live import LiveProgress
from marblecli.engine.processes import Processes, connect, started_processes
from marblecli.errors import BadInputError, InterruptedRunError
from marblecli.methods import checks
from marblecli.models.quiet import quiet_libraries
from marblecli.report.render import out
from marblecli.report.summary import changes_table
from marblecli.runs.embedding_cache import EmbeddingCache
from marblecli.runs.recipe import recipe_table
from marblecli.runs.recorder import RunRecorder
from marblecli.runs.recorders import Recorders
from marblecli.runs.run import Run
from marblecli.runs.tracking import check_trackers, make_trackers
from marblecli.runs.unrecorded import Unrecorded
from marblecli.types import RewardChange, Snapshot

if TYPE_CHECKING:
    from marblecli.train.sampler import Sampler

_FREE_TO_CHANGE = ("training.steps", "eval", "checkpoint", "tracking")
"""What may be changed when a run is resumed: its length, and what it reports and saves."""
_HOW_COMPUTED = (
    "model.gradient_checkpointing",
    "model.compile",
    "model.embedding_cache",
    "model.shard",
    "model.offload",
    "training.ema_on_cpu",
)
"""These may be changed, too: they change only memory, speed and rounding."""
_WHERE_SCORED = re.compile(r"rewards\.[^.]+\.(timeout|batch_size|device)")
"""And so may these, which say where rewards are scored."""


def run_training(plan: Plan, run_dir: Path | None, resume: bool) -> None:
    """Train and show the progress; at the end, show every reward's change and the next command."""
    quiet_libraries()
    check_processes(plan.recipe, started_processes().count)
    check_trackers(plan.recipe)
    run = _open(plan, run_dir, resume, connect())
    out.print(f"run directory: {run.directory}", highlight=False, soft_wrap=True)
    changes = _train(plan, run)
    if started_processes().first:
        export_finished(run.directory)
    for split, found in changes.items():
        out.print(changes_table(split, found))
    out.print(f"run directory: {run.directory}", highlight=False, soft_wrap=True)
    out.print(f"next: marble inspect-conflicts {run.directory}", highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class _Run:
    directory: Path
    recorder: Recorders
    saved: Snapshot | None
    """The state that the run is resumed from; None for a new run."""


def _open(plan: Plan, run_dir: Path | None, resume: bool, processes: Processes) -> _Run:
    """Open the run in every process.

    The first process makes the run directory, or prepares it for resuming. All processes read the
    checkpoint.
    """
    if processes.first:
        recorder, saved = _resume(plan, run_dir) if resume else (_create(plan, run_dir), None)
        directory = processes.gather(recorder.run.directory)[0]
        return _Run(directory, Recorders(recorder, make_trackers(plan.recipe, directory)), saved)
    directory = processes.gather(Path())[0]
    if not resume:
        return _Run(directory, Recorders(Unrecorded()), None)
    there = Run.open(directory)
    saved = there.load_checkpoint(there.latest_checkpoint())
    return _Run(directory, Recorders(Unrecorded()), saved)


def _create(plan: Plan, run_dir: Path | None) -> RunRecorder:
    name = plan.recipe.run.name
    directory = run_dir or Path("runs") / f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    return RunRecorder.create(directory, plan.recipe)


def _resume(plan: Plan, run_dir: Path | None) -> tuple[RunRecorder, Snapshot]:
    if run_dir is None:
        raise BadInputError("--resume needs --run-dir, the directory of the run to continue")
    run = Run.open(run_dir)
    earlier = run.recipe(plan.catalog.check_options)
    earlier = earlier.model_copy(update={"balance": checks.resolved(earlier.balance)})
    changed = [
        key
        for key in _differences(recipe_table(earlier), recipe_table(plan.recipe))
        if not (
            key.startswith(_FREE_TO_CHANGE) or key in _HOW_COMPUTED or _WHERE_SCORED.fullmatch(key)
        )
    ]
    if changed:
        raise BadInputError(
            f"{run_dir} was started with another {', '.join(changed)}; set it back, or start a new "
            "run with another --run-dir"
        )
    saved = run.load_checkpoint(run.latest_checkpoint())
    return RunRecorder.resume(run, plan.recipe, saved.step), saved


def _differences(one: object, two: object, prefix: str = "") -> list[str]:
    """The dotted keys at which two nested mappings differ."""
    if not (isinstance(one, Mapping) and isinstance(two, Mapping)):
        return [] if one == two else [prefix]
    keys = dict.fromkeys((*one, *two))
    return [
        found
        for key in keys
        for found in _differences(one.get(key), two.get(key), f"{prefix}.{key}".lstrip("."))
    ]


def _train(plan: Plan, run: _Run) -> Mapping[str, tuple[RewardChange, ...]]:
    from marblecli.train.loop import Callbacks, train
    from marblecli.train.sampler import PromptSets, open_sampler
    from marblecli.train.trainer import open_trainer

    prompts = PromptSets(plan.train_prompts, evaluation_splits(plan))
    with out.status("loading the model"):
        build = partial(build_suite, plan)
        sampler = open_sampler(plan.recipe, prompts, build, open_store=EmbeddingCache)
        if run.saved is None:
            start_from_adapter(sampler)
        trainer = open_trainer(sampler)
    progress = LiveProgress(tuple(plan.recipe.rewards), plan.recipe.training.steps)
    with (
        closing(run.recorder),
        sampler.suite,
        _ended(sampler),
        _stop_on_signal(sampler.processes) as should_stop,
        progress,
    ):
        callbacks = Callbacks(run.recorder, progress.on_step, progress.on_evaluation, should_stop)
        return train(trainer, callbacks, run.saved).changes


@contextmanager
def _ended(sampler: Sampler) -> Iterator[None]:
    """Leave the process group at the end, unless there was an error."""
    try:
        yield
    except InterruptedRunError:
        sampler.accelerator.end_training()
        raise
    sampler.accelerator.end_training()


@contextmanager
def _stop_on_signal(processes: Processes) -> Iterator[Callable[[], bool]]:
    """A function that says whether the loop is to save and stop.

    The first Ctrl-C or SIGTERM makes it true, and the second one stops at once. If there are
    several processes, it is also true once the launcher has ended.
    """
    asked: list[int] = []
    several, launcher = processes.count > 1, os.getppid()

    def ask(number: int, _frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        out.print(
            "stopping after this step; its checkpoint will be saved (Ctrl-C again to stop at once)"
        )

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked) or (several and os.getppid() != launcher)
    finally:
        for number, handler in previous.items():
            # When one process has ended, a launcher sends signals to the others. These must not end
            # them, because they may have to report an error.
            signal.signal(number, signal.SIG_IGN if several else handler)
