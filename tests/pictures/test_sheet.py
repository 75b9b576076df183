from __future__ import annotations

from marblecli.pictures.sheet import Section


def test_a_heading_says_how_many_cells_are_left_out() -> None:
    assert Section("Prompts", ()).title == "Prompts"
    assert Section("Prompts", (), left_out=3).title == "Prompts (3 more aren't shown)"
