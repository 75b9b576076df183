"""Make the README's picture and tables from the quickstart, by one command.

    python docs/quickstart.py RUN_DIR

trains the quickstart into RUN_DIR, unless that holds a run, and writes what the run shows into
README.md and docs/images/quickstart.png.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import picture
from marblecli.pictures.legend import Picture
from marblecli.report.evaluated import Changes, base_of, changes_between
from marblecli.report.summary import changes_table
from marblecli.runs.run import Run

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "quickstart.toml"
IMAGE = Path("docs", "images", "quickstart.png")
_WIDTH = 80
_TABLES = ("<!-- the quickstart's tables -->\n", "<!-- end of the tables -->\n")
_PICTURE = ("<!-- the quickstart's picture -->\n", "<!-- end of the picture -->\n")


def main(
    run_dir: Annotated[Path, typer.Argument(help="A finished quickstart run, or a new folder.")],
    root: Annotated[Path, typer.Option(help="The checkout to write into.")] = ROOT,
) -> None:
    """Train the quickstart if need be; write the README's picture and tables."""
    if not (run_dir / "recipe.toml").exists():
        command = [sys.executable, "-m", "marblecli", "train", str(RECIPE), "--num-processes", "2"]
        command += ["--run-dir", str(run_dir)]
        subprocess.run(command, check=True)  # noqa: S603 - the command is this package's own
    run = Run.open(run_dir)
    shown = picture.last_picture(run, picture.Kind.CHANGED)
    picture.main(run_dir, root / IMAGE)
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8")
    text = replace_part(text, _PICTURE, picture_text(shown))
    text = replace_part(text, _TABLES, tables_text(last_changes(run)))
    readme.write_text(text, encoding="utf-8")


def last_changes(run: Run) -> Changes:
    """What changed from the base model to the last evaluation of the run.

    Raises typer.BadParameter if one of them is missing.
    """
    evaluations = run.evaluations()
    base = base_of(evaluations)
    if base is None or evaluations[-1] is base:
        raise typer.BadParameter(f"{run.directory} isn't finished: its last evaluation is missing")
    return changes_between(base, evaluations[-1])


def tables_text(changes: Changes) -> str:
    """The tables as the terminal shows them, in a block of code."""
    shown = io.StringIO()
    console = Console(file=shown, width=_WIDTH, no_color=True)
    for split, found in changes.items():
        console.print(changes_table(split, found))
    lines = [line.rstrip() for line in shown.getvalue().splitlines()]
    return "\n".join(["```", *lines, "```", ""])


def picture_text(shown: Picture) -> str:
    """The picture, and how its images were chosen."""
    alt = (
        f"Images of the quickstart's model after {shown.step} steps, each beside the base model's "
        "image from the same noise"
    )
    return (
        f"![{alt}]({IMAGE.as_posix()})\n\n"
        f"*Drawn by the quickstart itself: the images that changed most in {shown.step} steps, for "
        "better and for\nworse. They were chosen by score, so they aren't typical.*\n"
    )


def replace_part(text: str, marks: tuple[str, str], part: str) -> str:
    """``text`` with ``part`` between the two marks. Raises ValueError if it lacks a mark."""
    start, end = (re.escape(mark) for mark in marks)
    found, count = re.subn(f"({start}).*?({end})", lambda m: m[1] + part + m[2], text, flags=re.S)
    if count != 1:
        raise ValueError(f"there must be one part between {marks[0]!r} and {marks[1]!r}")
    return found


if __name__ == "__main__":
    typer.run(main)
