from __future__ import annotations

from marblecli.lab.compare import Amount
from marblecli.lab.page import find
from marblecli.lab.tables import as_cell, gains_table, shares_table, specialists_table, wins_table
from marblecli.report.tables import Change
from support.lab_results import results

FOUND = find("a lab", results())


def test_every_method_has_a_row_and_every_reward_a_column() -> None:
    table = gains_table(FOUND.comparison, "held-out")
    assert [row[0] for row in table.rows] == list(FOUND.measures)
    assert [column.title for column in table.columns] == ["method", "a", "b"]
    cell = table.rows[1][1]
    assert isinstance(cell, Change)
    assert cell.low <= cell.value <= cell.high


def test_the_unit_of_the_shares_is_said() -> None:
    table = shares_table(FOUND.comparison, FOUND.measures)
    assert "the gain of the reward's specialist" in table.explanation


def test_seeds_won_are_a_square() -> None:
    table = wins_table(FOUND.comparison)
    assert table is not None
    assert [row[0] for row in table.rows] == ["marble", "equal", "weighted-sum"]
    assert table.rows[0][1:] == (None, "2 of 2", "2 of 2")
    assert table.rows[2][1:] == ("0 of 2", "0 of 2", None)


def test_every_image_is_counted_once() -> None:
    assert FOUND.samples is not None
    shares = [row[1] for row in specialists_table(FOUND.samples).rows]
    assert abs(sum(each for each in shares if isinstance(each, float)) - 1.0) < 1e-9


def test_nothing_is_an_empty_cell() -> None:
    assert as_cell(None) is None
    assert as_cell(Amount(0.5, 0.25, 0.75)) == Change(0.5, 0.25, 0.75)
