"""What the prompt writers of this folder share: drawing, files and the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from marblecli.errors import BadInputError
from marblecli.runs.prompts import load_prompts
from marblecli.types import Prompt

Item = TypeVar("Item")


def in_turn(decks: Iterable[Iterator[Item]]) -> Iterator[Item]:
    """One item of each deck in turn, until no deck has any left."""
    left = list(decks)
    while left:
        for deck in list(left):
            drawn = list(islice(deck, 1))
            yield from drawn
            if not drawn:
                left.remove(deck)


def pick(choices: Sequence[str], rng: np.random.Generator) -> str:
    """One of the choices, all equally likely."""
    return choices[int(rng.integers(len(choices)))]


def with_article(name: str) -> str:
    """The name after "a" or "an", whichever its first letter asks for."""
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def read_prompts(paths: Iterable[Path]) -> list[Prompt]:
    """The prompts of all files. Raises BadInputError if one can't be read."""
    return [prompt for path in paths for prompt in load_prompts(path, path.stem)]


def write_lines(path: Path, lines: Iterable[str], count: int) -> None:
    """Write the first ``count`` lines to ``path``.

    Raises BadInputError if ``count`` isn't positive, or there aren't as many lines; nothing is
    written then.
    """
    if count < 1:
        raise BadInputError(f"--count must be at least 1, got {count}")
    found = list(islice(lines, count))
    if len(found) < count:
        raise BadInputError(
            f"there are only {len(found)} prompts to draw: choose a --count of at most that"
        )
    path.write_text("".join(f"{line}\n" for line in found), encoding="utf-8")


def make_parser(description: str, file: str, excluded: str) -> argparse.ArgumentParser:
    """The command line of a writer: the file, --count, --seed and --exclude.

    ``file`` stands for the file in the help; ``excluded`` says what --exclude leaves out.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("path", type=Path, metavar=file)
    parser.add_argument("--count", type=int, default=1000, help="how many prompts to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--exclude",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help=f"prompts whose {excluded} to leave out, .jsonl or .txt; may be repeated",
    )
    return parser


def run_writer(
    parser: argparse.ArgumentParser, draw: Callable[[argparse.Namespace], Iterable[str]]
) -> None:
    """Write the lines that ``draw`` makes of the options to the file that they name."""
    options = parser.parse_args()
    try:
        write_lines(options.path, draw(options), options.count)
    except BadInputError as error:
        parser.error(str(error))
