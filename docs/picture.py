"""Make the picture of the README from a finished run.

    marble train recipes/quickstart.toml --run-dir RUN_DIR
    python docs/picture.py RUN_DIR docs/images/quickstart.png

It is a picture that the run itself has drawn.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from marblecli.pictures.legend import Picture
from marblecli.runs.run import Run


class Kind(StrEnum):
    """Which of a run's pictures is taken."""

    CHANGED = "changed"
    PROMPTS = "prompts"


def main(
    run_dir: Annotated[Path, typer.Argument(help="A finished run.")],
    file: Annotated[Path, typer.Argument(help="The PNG to write.")],
    kind: Annotated[
        Kind, typer.Option(help="The images that changed most, or prompts by a fixed rule.")
    ] = Kind.CHANGED,
) -> None:
    """Write the last picture of a kind, and print its alt text."""
    picture = last_picture(Run.open(run_dir), kind)
    file.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(picture.path) as image:
        image.convert("RGB").save(file, optimize=True)
    typer.echo(picture.alt)


def last_picture(run: Run, kind: str) -> Picture:
    """The run's last picture of that kind. Raises typer.BadParameter if there is none."""
    found = [picture for picture in run.pictures() if picture.kind == kind]
    if not found:
        raise typer.BadParameter(f"{run.directory} has no picture of the kind {str(kind)!r}")
    return found[-1]


if __name__ == "__main__":
    typer.run(main)
