"""Run ``marble train`` and ``marble resume``, once the recipe has been checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from marblecli.cli.export.run import export_finished
from marblecli.cli.initial import start_from_adapter
from marblecli.cli.launch import check_processes
from marblecli.cli.progress import showing_work
from marblecli.cli.setup import Plan, build_suite, evaluation_splits
from marblecli.cli.train.ending import show_end
from marblecli.cli.train.eta import Eta
from marblecli.cli.train.live import LiveProgress
from marblecli.cli.train.opening import OpenRun, command_to_go_on, open_run
from marblecli.cli.train.page import update_page
from marblecli.cli.train.pictures import show_last_pictures, tell_pictures
from marblecli.cli.train.stop import stop_on_signal
from marblecli.engine.processes import connect, started_processes
from marblecli.errors import InterruptedRunError, StopRequestedError
from marblecli.models.quiet import quiet_libraries
from marblecli.pictures.terminal import check_terminal
from marblecli.progress import listening, work
from marblecli.report.render import out
from marblecli.runs.embedding_cache import EmbeddingCache
from marblecli.runs.tracking import configuration
from marblecli.types import RewardChange

if TYPE_CHECKING:
    from marblecli.train.sampler import Sampler
    from marblecli.train.trainer import Trainer


def run_training(plan: Plan, run_dir: Path | None, resume: bool) -> None:
    """Train and show the progress; at the end, show every reward's change and the next command.

    With ``resume``, the run in ``run_dir`` goes on with the plan's recipe.
    """
    with showing_work(out), work("loading libraries"):
        quiet_libraries()
    processes = started_processes()
    check_processes(plan.recipe, processes.count)
    if plan.recipe.eval.show_pictures:
        check_terminal()
    run = open_run(plan, run_dir, resume, connect())
    out.print(f"run directory: {run.directory}", highlight=False, soft_wrap=True)
    command = command_to_go_on(run.directory, processes)
    try:
        changes = _train(plan, run)
    except InterruptedRunError as error:
        raise InterruptedRunError(f"{error}\ngo on with: {command}") from None
    except (KeyboardInterrupt, StopRequestedError):
        raise InterruptedRunError(f"interrupted\ngo on with: {command}") from None
    if processes.first:
        with showing_work(out), work("exporting the weights"):
            export_finished(run.directory)
        if plan.recipe.eval.show_pictures:
            show_last_pictures(run.directory)
    show_end(run.directory, changes)


def _train(plan: Plan, run: OpenRun) -> Mapping[str, tuple[RewardChange, ...]]:
    trainer = _load(plan, run)
    from marblecli.train.loop import train
    from marblecli.train.recorder import Callbacks, EvaluationReport

    sampler = trainer.sampler
    progress = LiveProgress(
        tuple(plan.recipe.rewards), plan.recipe.training.steps, _first_eta(plan, run)
    )
    with closing(run.recorder), sampler.suite, _ended(sampler):
        # A tracker may ask for a password, which a live display would hide.
        run.recorder.start(configuration(plan.recipe))
        with (
            stop_on_signal(sampler.processes) as should_stop,
            progress,
            listening(progress.work),
        ):

            def on_evaluation(report: EvaluationReport) -> None:
                progress.on_evaluation(report)
                tell_pictures(run.directory, report.step)
                if sampler.processes.first:
                    update_page(run.directory)

            callbacks = Callbacks(run.recorder, progress.on_step, on_evaluation, should_stop)
            return train(trainer, callbacks, run.saved, run.earlier).changes


def _load(plan: Plan, run: OpenRun) -> Trainer:
    with showing_work(out), work("loading the model"):
        from marblecli.train.sampler import PromptSets, open_sampler
        from marblecli.train.trainer import open_trainer

        prompts = PromptSets(plan.train_prompts, evaluation_splits(plan))
        build = partial(build_suite, plan)
        sampler = open_sampler(plan.recipe, prompts, build, open_store=EmbeddingCache)
        if run.saved is None:
            start_from_adapter(sampler)
        return open_trainer(sampler)


def _first_eta(plan: Plan, run: OpenRun) -> Eta:
    """The time left, as far as it is known from what the run has done earlier."""
    timed = [record.seconds for record in run.earlier if record.seconds is not None]
    evaluation = timed[-1] if timed else None
    return Eta(plan.recipe.training.steps, plan.recipe.eval.every, evaluation)


@contextmanager
def _ended(sampler: Sampler) -> Iterator[None]:
    """Leave the process group at the end, unless there was an error."""
    try:
        yield
    except InterruptedRunError:
        sampler.accelerator.end_training()
        raise
    sampler.accelerator.end_training()
