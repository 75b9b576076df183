"""``marble inspect-conflicts RUN_DIR``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def inspect_conflicts(
    run_dir: Annotated[Path, typer.Argument(help="A run directory.")],
    balancer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Judge this balancer on the same batches too: marble, weighted-sum or equal; "
            "repeatable.",
        ),
    ] = None,
    show_all: Annotated[bool, typer.Option("--all", help="Show every measured batch.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document and nothing else.")
    ] = False,
) -> None:
    """Which rewards the training direction fought, how often and how badly."""
    from marblecli.cli.inspecting import inspect_run

    inspect_run(run_dir, tuple(balancer or ()), show_all=show_all, as_json=as_json)
