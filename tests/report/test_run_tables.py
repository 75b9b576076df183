from __future__ import annotations

import math

import pytest

from marblecli.report.run_tables import (
    changes_table,
    curve_table,
    facts_table,
    median_seconds,
    phase_totals,
    time_table,
)
from marblecli.report.tables import Change
from marblecli.types import RewardChange
from support.run_data import metrics

CHANGE = RewardChange("ocr", 0.5, 0.7, 0.1, 0.3, math.nan, math.nan, 8)


def test_a_rewards_change_has_its_interval() -> None:
    (row,) = changes_table("held-out", 25, [CHANGE]).rows
    assert row == ("ocr", 0.5, 0.7, Change(pytest.approx(0.2), 0.1, 0.3), 8)


def test_a_reward_that_wasnt_evaluated_at_a_step_has_no_cell_there() -> None:
    other = RewardChange("aes", 0.5, 0.4, -0.2, -0.1, math.nan, math.nan, 8)
    table = curve_table("train", {5: [CHANGE], 10: [CHANGE, other]})
    assert [column.title for column in table.columns] == ["step", "ocr", "aes"]
    assert [row[0] for row in table.rows] == ["5", "10"]
    assert table.rows[0][2] is None


def test_phases_and_the_rest_are_the_whole() -> None:
    assert phase_totals(metrics(10)) == {"sampling": 10.0, "gradients": 5.0, "other": 5.0}
    rows = {row[0]: row[1:] for row in time_table(metrics(10)).rows}
    assert rows["sampling"] == (1.0, 0.5, 10.0)
    assert median_seconds(metrics(3)) == 2.0


def test_steps_without_phases_are_a_whole() -> None:
    assert phase_totals([{"step": 1, "seconds": 2.0}]) == {"whole step": 2.0}
    assert phase_totals([]) == {"whole step": 0.0}
    assert math.isnan(median_seconds([]))


def test_facts_are_rows() -> None:
    assert facts_table("Recipe", {"seed": "0"}).rows == (("seed", "0"),)
