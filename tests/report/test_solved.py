from __future__ import annotations

import numpy as np
import pytest

from marblecli.report.solved import (
    Failed,
    Method,
    Solved,
    batches_table,
    comparison_table,
    solution_table,
    summaries_table,
)
from marblecli.report.tables import WeightedCosine
from marblecli.types import Balance, GradientStats

NAN = float("nan")


def solved(weights, cosines, usable=(True, True)) -> Solved:
    stats = GradientStats(("ocr", "geneval"), np.diag(np.float64(usable)), np.array(usable))
    balance = Balance(np.array(weights), np.array(weights), kkt_residual=0.0)
    return Solved(stats, balance, np.array(cosines), certificate=None)


def test_a_solution_has_a_row_for_every_reward_and_names_what_is_left_out() -> None:
    one = solved([1.0, 0.0], [1.0, NAN], usable=(True, False))
    assert (one.worst_cosine, one.masked) == (1.0, ["geneval"])
    table = solution_table("equal", one)
    assert [row[0] for row in table.rows] == ["ocr", "geneval"]
    assert table.rows[0][1:] == (1.0, 1.0, 1.0, 1.0)
    assert table.notes == (
        "left out, because the gradient is zero: geneval",
        "worst cosine: +1.000",
    )


def test_a_direction_that_is_zero_helps_no_reward() -> None:
    table = solution_table("equal", solved([0.5, 0.5], [NAN, NAN]))
    assert table.notes[-1] == "The combined gradient is zero: no direction helps every reward."


def test_methods_of_the_same_name_are_told_apart() -> None:
    one = solved([0.75, 0.25], [0.9, 0.3])
    same = comparison_table([("marble", one), ("marble", one), ("equal", one)])
    assert [row[0] for row in same.rows] == ["marble (as asked)", "marble", "equal"]
    assert same.rows[0][1:] == (0.3, WeightedCosine(0.9, 0.75), WeightedCosine(0.3, 0.25))


def test_a_batch_that_cannot_be_combined_keeps_its_row() -> None:
    method = Method("equal", (solved([0.5, 0.5], [0.7, 0.7]), Failed("no gradient")))
    table = batches_table(["one", "two"], ("ocr", "geneval"), method)
    assert table.rows[1] == ("two", None, None, None, None)
    summaries = summaries_table(("ocr", "geneval"), [method])
    assert summaries.rows[0] == ("equal", 1, 0.0, *(pytest.approx(0.7),) * 3)
