"""``marble train RECIPE``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
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
) -> None:
    """Fine-tune a model on the rewards of a recipe."""
    from marblecli.cli.plan import show_plan
    from marblecli.cli.setup import load_plan
    from marblecli.cli.training import run_training

    plan = load_plan(recipe, overrides or [])
    if dry_run:
        show_plan(plan)
    else:
        run_training(plan, run_dir, resume)
