"""Say where the pictures of an evaluation are, and show the last ones in the terminal if asked."""

from __future__ import annotations

from pathlib import Path

from marblecli.pictures.legend import Picture
from marblecli.pictures.terminal import show_image
from marblecli.report.render import out
from marblecli.runs.image_files import read_image
from marblecli.runs.run import Run


def pictures_of(directory: Path, step: int) -> list[Picture]:
    """The pictures of the evaluation of ``step``: prompts by a fixed rule, then what changed."""
    found = [picture for picture in Run(directory).pictures() if picture.step == step]
    return sorted(found, key=lambda picture: picture.kind, reverse=True)


def tell_pictures(directory: Path, step: int) -> None:
    """Print the paths of the pictures of the evaluation of ``step``."""
    if out.quiet:
        return  # Another process writes and tells.
    for picture in pictures_of(directory, step):
        out.print(f"pictures: {picture.path}", highlight=False, soft_wrap=True, markup=False)


def show_last_pictures(directory: Path) -> None:
    """Show the pictures of the last evaluation in the terminal; see :mod:`pictures.terminal`."""
    steps = [picture.step for picture in Run(directory).pictures()]
    for picture in pictures_of(directory, max(steps, default=0)):
        show_image(read_image(picture.path), out)
