"""``marble resume RUN_DIR``"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from marblecli.cli.options import NumProcesses


def resume(
    run_dir: Annotated[Path, typer.Argument(help="The directory of the run to continue.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change what the steps so far don't depend on: training.steps, "
            "training.learning_rate and its schedule, eval, checkpoint, tracking; repeatable.",
        ),
    ] = None,
    num_processes: NumProcesses = 1,
) -> None:
    """Continue a run from its newest checkpoint, by its own recipe."""
    from marblecli.cli.launch import RESUME, check_processes, launch, wants_launch
    from marblecli.cli.progress import showing_work
    from marblecli.progress import work
    from marblecli.report.render import out

    starts_others = wants_launch(num_processes)
    # The processes that are started load the recipe again, and the first of them prints for all.
    with showing_work(out), work("checking the run"):
        from marblecli.cli.train.resumption import own_plan
        from marblecli.runs.tracking import check_trackers

        plan = own_plan(run_dir, overrides or [], quiet=starts_others)
        check_trackers(run_dir / "recipe.toml", plan.recipe)
    if starts_others:
        check_processes(plan.recipe, num_processes)
        launch(num_processes, sys.argv[1:], RESUME)
    else:
        from marblecli.cli.train.run import run_training

        run_training(plan, run_dir, resume=True)
