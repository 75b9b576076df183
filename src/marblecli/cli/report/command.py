"""``marble report RUN...``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run directories; several are compared.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The page to write [default: report.html in the run; comparison.html here for "
            "several runs].",
        ),
    ] = None,
) -> None:
    """Write a page about a run: what its rewards did, its pictures, its conflicts and its time.

    Several runs are compared: their curves in the same charts, and paired differences.
    """
    from marblecli.cli.report.write import report as write

    write(runs, output)
