"""``marble export RUN``"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Weights(StrEnum):
    """Which weights of a checkpoint are exported."""

    AVERAGE = "average"
    TRAINED = "trained"


class Precision(StrEnum):
    """What whole networks are written in."""

    FP32 = "fp32"
    BF16 = "bf16"


def export(
    run: Annotated[Path, typer.Argument(help="A run directory, or one of its checkpoints.")],
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME[,NAME]",
            help="diffusers, comfyui, kohya, merged, difference.",
            show_default="diffusers,comfyui",
        ),
    ] = None,
    weights: Annotated[
        Weights, typer.Option(help="The moving average, or the weights as last stepped.")
    ] = Weights.AVERAGE,
    step: Annotated[
        int | None, typer.Option(min=0, help="The checkpoint's step.", show_default="the newest")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="The folder to write to.", show_default="RUN/export")
    ] = None,
    dtype: Annotated[
        Precision, typer.Option(help="Precision of whole networks; adapters are in fp32.")
    ] = Precision.FP32,
    push: Annotated[
        str | None,
        typer.Option(metavar="OWNER/NAME", help="Upload the folder to this hub repository, too."),
    ] = None,
) -> None:
    """Save the trained weights for diffusers, ComfyUI, kohya's scripts and Forge.

    Each file is loaded back as its reader does, and compared with the run's weights.
    """
    from marblecli.cli.export.run import ExportRequest, run_export

    run_export(ExportRequest(run, formats, weights.value, step, output, dtype.value, push))
