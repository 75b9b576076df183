"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

ABSENT = "-"
GIB = 2**30


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the first column is of words."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(_line(cells) for cells in (head, rule, *rows))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def gib(count: float | None) -> str:
    """Bytes in GiB."""
    return ABSENT if count is None else f"{count / GIB:.1f}"


def number(value: float | None, digits: int = 2) -> str:
    """A number with so many digits after the point."""
    return ABSENT if value is None else f"{value:.{digits}f}"
