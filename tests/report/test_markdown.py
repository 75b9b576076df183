from __future__ import annotations

from marblecli.report.markdown import as_markdown
from marblecli.report.tables import Change, Column, Table


def test_a_table_is_markdown_with_its_intervals() -> None:
    table = Table(
        "Gains",
        (Column("method", "text"), Column("gain", "change", "95 % interval")),
        (("a|b", Change(0.5, 0.25, 0.75)), ("c", None)),
        explanation="What it says.",
        notes=("A note.",),
    )
    assert as_markdown(table) == (
        "### Gains\n\nWhat it says.\n\n| method | gain (95 % interval) |\n| --- | --- |\n"
        "| a\\|b | +0.500 \N{UPWARDS ARROW} [+0.250, +0.750] |\n| c | - |\n\nA note.\n"
    )
