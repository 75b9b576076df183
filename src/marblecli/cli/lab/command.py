"""``marble lab RECIPE``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marblecli.errors import BadInputError


def lab(  # noqa: PLR0913, PLR0917 - one parameter an option
    recipe: Annotated[Path, typer.Argument(help="The lab recipe, a TOML file.")],
    lab_dir: Annotated[
        Path | None,
        typer.Option(help="The lab's directory.", show_default="runs/lab-NAME"),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Set a recipe field in all cells; repeatable."
        ),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs", "-j", min=1, help="Cells at a time; they share this machine's processors."
        ),
    ] = 1,
    cell: Annotated[
        int | None,
        typer.Option(
            "--cell", min=0, metavar="N", help="Train one cell, counted from 0, as --list does."
        ),
    ] = None,
    show_list: Annotated[
        bool, typer.Option("--list", help="Print the command of each cell; train nothing.")
    ] = False,
    background: Annotated[
        bool, typer.Option("--background", help="Train apart from the terminal, with a log.")
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Say how far the cells are; train nothing.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Compare the cells that are finished; train nothing.")
    ] = False,
) -> None:
    """Compare methods by training each of them on several seeds, on the same prompts and noise.

    Cells that are finished are skipped, and those that were interrupted go on. At the end, the
    comparison is written to lab.json, lab.md and report.html in the lab's directory.
    """
    chosen = {
        "--cell": cell is not None,
        "--list": show_list,
        "--background": background,
        "--status": status,
        "--report": report,
    }
    named = [name for name, wanted in chosen.items() if wanted]
    if len(named) > 1:
        raise BadInputError(f"{' and '.join(named)} can't be given together: choose one")
    from marblecli.cli.lab import run

    opened = run.open_lab(recipe, lab_dir, overrides or [], jobs)
    if show_list:
        run.show_commands(opened)
    elif status:
        run.show_status(opened)
    elif report:
        run.write_report(opened)
    elif cell is not None:
        run.run_one(opened, cell)
    elif background:
        run.run_in_background(opened)
    else:
        run.run_all(opened)
