"""``marble solve FILE``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def solve(
    file: Annotated[
        Path,
        typer.Argument(
            help="A Gram matrix (.json, .csv, .npy) or gradients "
            "(.safetensors: one tensor a reward, or REWARD/PARAMETER)."
        ),
    ],
    method: Annotated[
        str, typer.Option(help="The balancer: marble, weighted-sum or equal.")
    ] = "marble",
    floor: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Least simplex weight of a reward; repeatable, or one number for all.",
        ),
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="Weight of a reward in weighted-sum (default 1); repeatable."
        ),
    ] = None,
    solver: Annotated[str, typer.Option(help="What solves the QP: wolfe or cvxpy.")] = "wolfe",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document and nothing else.")
    ] = False,
) -> None:
    """Combine gradients: coefficients, cosines and the certificate that they are optimal."""
    from marblecli.cli.solving import SolveOptions, solve_file

    options = SolveOptions(method, solver, tuple(floor or ()), tuple(weight or ()))
    solve_file(file, options, as_json=as_json)
