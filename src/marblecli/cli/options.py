"""Options that several commands share, so that they are described once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

NumProcesses = Annotated[
    int, typer.Option(min=1, help="Processes on this machine, one a GPU if there are any.")
]
Weights = Annotated[
    Literal["average", "trained"],
    typer.Option(help="A run's moving average, or its last trained weights."),
]
Base = Annotated[
    str | None,
    typer.Option(
        help="The base model of an adapter: a hub id or a folder.",
        show_default="as it says itself",
    ),
]
SettingsFrom = Annotated[
    Path | None,
    typer.Option(help="The recipe or run whose settings an adapter or a model runs with."),
]
