"""The little Markdown that the generated pages are made of."""

from __future__ import annotations

from collections.abc import Sequence

NOTE = "<!-- Generated from the code by docs/generate.py: change the code, not this file. -->"


def prose(docstring: str) -> str:
    """A docstring as Markdown: one line for each paragraph, code in single backticks."""
    paragraphs = docstring.strip().split("\n\n")
    return "\n\n".join(" ".join(part.split()) for part in paragraphs).replace("``", "`")


def code(text: str) -> str:
    """``text`` as code; nothing for an empty text."""
    return f"`{text}`" if text else ""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are Markdown already; each row is as long as the header."""
    lines = [_row(header), _row(["---"] * len(header))]
    return "\n".join([*lines, *(_row(row) for row in rows)])


def page(*blocks: str) -> str:
    """A page of blocks, those that are empty left out, with the note that it is generated."""
    return "\n\n".join([NOTE, *filter(None, blocks)]) + "\n"


def fragment(heading: str) -> str:
    """The fragment by which GitHub links to a heading."""
    kept = "".join(letter for letter in heading.lower() if letter.isalnum() or letter in " -_")
    return "#" + kept.replace(" ", "-")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_one_line(cell) for cell in cells) + " |"


def _one_line(cell: str) -> str:
    return " ".join(cell.split()).replace("|", r"\|")
