"""``marble train RECIPE``"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marblecli.cli.options import NumProcesses
from marblecli.errors import BadInputError

if TYPE_CHECKING:
    from marblecli.cli.setup import Plan

_RANDOM = "model.random_weights=true"


def train(  # noqa: PLR0913, PLR0917 - one parameter an option
    recipe: Annotated[Path, typer.Argument(help="The recipe, a TOML file.")],
    run_dir: Annotated[
        Path | None,
        typer.Option(help="Run directory.", show_default="runs/NAME-TIMESTAMP"),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set any recipe field; repeatable."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue the run in --run-dir by its own recipe, as marble resume RUN_DIR.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the recipe and show the plan; load nothing.")
    ] = False,
    random_weights: Annotated[
        bool,
        typer.Option(
            "--random-weights",
            help="Build the model from its configuration, as --set model.random_weights=true.",
        ),
    ] = False,
    memory: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="GIB",
            help="With --dry-run: the memory to plan for.",
            show_default="the GPU's, if there is one",
        ),
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(
            min=1e-6,
            metavar="TFLOPS",
            help="With --dry-run: the device's speed to predict times by, in 10^12 operations a "
            "second.",
            show_default="measured, unless --memory says that it's another device",
        ),
    ] = None,
    num_processes: NumProcesses = 1,
) -> None:
    """Fine-tune a model on the rewards of a recipe."""
    from marblecli.cli.launch import RESUME, check_processes, launch, wants_launch
    from marblecli.cli.progress import showing_work
    from marblecli.progress import work
    from marblecli.report.render import log, out

    if memory is not None and not dry_run:
        raise BadInputError("--memory needs --dry-run: it is for the plan, and doesn't limit a run")
    if speed is not None and not dry_run:
        raise BadInputError("--speed needs --dry-run: it is for the plan of the time")
    settings = [*(overrides or []), *([_RANDOM] if random_weights else [])]
    starts_others = not dry_run and wants_launch(num_processes)
    # The processes that are started load the recipe again, and the first of them prints for all.
    # The plan alone is on stdout where that is no terminal.
    screen = log if dry_run and not out.is_terminal else out
    with showing_work(screen), work("checking the recipe"):
        from marblecli.cli.setup import load_plan
        from marblecli.runs.tracking import check_trackers

        plan = load_plan(recipe, settings, quiet=starts_others, starting=not resume)
        check_trackers(recipe, plan.recipe)
        if resume and not dry_run:
            plan = _resumed(plan, run_dir, settings, starts_others)
    if dry_run:
        with showing_work(screen), work("planning"):
            _show_plan(plan, memory, num_processes, speed)
    elif starts_others:
        check_processes(plan.recipe, num_processes)
        launch(num_processes, sys.argv[1:], RESUME)
    else:
        from marblecli.cli.train.run import run_training

        run_training(plan, run_dir, resume)


def _show_plan(plan: Plan, memory: float | None, processes: int, speed: float | None) -> None:
    from marblecli.cli.launch import check_processes
    from marblecli.models.quiet import quiet_libraries

    quiet_libraries()
    from marblecli.cli.train.plan import show_plan

    check_processes(plan.recipe, processes)
    show_plan(plan, memory, processes, speed)


def _resumed(given: Plan, run_dir: Path | None, settings: list[str], quiet: bool) -> Plan:
    from marblecli.cli.train.resumption import keep_own_recipe

    if run_dir is None:
        raise BadInputError("--resume needs --run-dir, the directory of the run to continue")
    return keep_own_recipe(given, run_dir, settings, quiet=quiet)
