"""``marble train RECIPE``"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from marblecli.errors import BadInputError

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
        bool, typer.Option("--resume", help="Continue --run-dir from its newest checkpoint.")
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
    num_processes: Annotated[
        int, typer.Option(min=1, help="Processes on this machine, one a GPU if there are any.")
    ] = 1,
) -> None:
    """Fine-tune a model on the rewards of a recipe."""
    from marblecli.cli.launch import RESUME, check_processes, launch, wants_launch
    from marblecli.cli.setup import load_plan
    from marblecli.cli.train.run import run_training

    if memory is not None and not dry_run:
        raise BadInputError("--memory needs --dry-run: it is for the plan, and doesn't limit a run")
    if speed is not None and not dry_run:
        raise BadInputError("--speed needs --dry-run: it is for the plan of the time")
    random = [_RANDOM] if random_weights else []
    starts_others = not dry_run and wants_launch(num_processes)
    # The processes that are started load the recipe again, and the first of them prints for all.
    plan = load_plan(
        recipe, [*(overrides or []), *random], quiet=starts_others, starting=not resume
    )
    if dry_run:
        from marblecli.models.quiet import quiet_libraries

        quiet_libraries()
        from marblecli.cli.train.plan import show_plan

        check_processes(plan.recipe, num_processes)
        show_plan(plan, memory, num_processes, speed)
    elif starts_others:
        check_processes(plan.recipe, num_processes)
        launch(num_processes, sys.argv[1:], RESUME)
    else:
        run_training(plan, run_dir, resume)
