"""Tables as Markdown, for pages that include them."""

from __future__ import annotations

from marblecli.report.cells import lines
from marblecli.report.tables import Cell, Column, Table


def as_markdown(table: Table) -> str:
    """The table under its title and explanation; intervals stand beside their values."""
    header = [_title(column) for column in table.columns]
    rows = [
        [_cell(cell, column) for cell, column in zip(row, table.columns, strict=True)]
        for row in table.rows
    ]
    drawn = [_row(header), _row(["---"] * len(header)), *map(_row, rows)]
    blocks = (f"### {table.title}", table.explanation, "\n".join(drawn), *table.notes)
    return "\n\n".join(filter(None, blocks)) + "\n"


def _title(column: Column) -> str:
    return f"{column.title} ({column.note})" if column.note else column.title


def _cell(cell: Cell, column: Column) -> str:
    return " ".join(line.text for line in lines(cell, column.kind))


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
