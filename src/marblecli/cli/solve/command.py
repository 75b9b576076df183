"""``marble solve FILE``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def solve(  # noqa: PLR0913 - one parameter an option
    file: Annotated[
        Path,
        typer.Argument(
            help="A Gram matrix (.json, .csv, .npy) or gradients (.safetensors: one tensor a "
            "reward, or REWARD/PARAMETER); many of them: a folder, a run or its conflicts.jsonl."
        ),
    ],
    *,
    method: Annotated[
        str,
        typer.Option(
            help="Any method of a recipe's balance (see marble methods list), single:REWARD, or "
            "one with settings, as in marble,shrinkage=0.5."
        ),
    ] = "marble",
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            "--compare",
            "--what-if",
            metavar="METHOD",
            help="Compare with this method too; repeatable. --what-if is its old name.",
        ),
    ] = None,
    floor: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Least simplex weight of a reward; repeatable, or one number for all.",
        ),
    ] = None,
    priority: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="What a reward's cosine counts for (default 1): ocr=2 asks for twice the cosine; "
            "repeatable.",
        ),
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="Weight of a reward in weighted-sum (default 1); repeatable."
        ),
    ] = None,
    solver: Annotated[
        str | None,
        typer.Option(help="What solves the QP: wolfe, cvxpy or cvxpy:NAME.", show_default="wolfe"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document and nothing else.")
    ] = False,
) -> None:
    """Combine gradients: coefficients, cosines and the certificate that they are optimal."""
    from marblecli.cli.solve.run import SolveOptions, solve_file

    options = SolveOptions(
        method=method,
        solver=solver,
        floors=tuple(floor or ()),
        priorities=tuple(priority or ()),
        weights=tuple(weight or ()),
        what_ifs=tuple(what_if or ()),
    )
    solve_file(file, options, as_json=as_json)
