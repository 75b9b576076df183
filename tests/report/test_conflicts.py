from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from marblecli.report.conflicts import (
    batches_table,
    detail_tables,
    directions_table,
    pairs_table,
    rewards_table,
)
from marblecli.report.tables import MeanCosine
from support.findings import absent, findings_of, records_of, steady, without_images


def titles(table) -> list[str]:
    return [column.title for column in table.columns]


def test_directions_show_the_reward_that_they_treat_worst() -> None:
    table = directions_table(findings_of("abc"))
    assert [row[0] for row in table.rows] == ["applied", "weighted-sum"]
    cell = table.rows[0][1]
    assert cell.reward == "c"
    assert cell.estimate.value == pytest.approx(-0.3)
    assert cell.conflict_share == 1.0
    assert table.columns[1].note == "8 batches"


def test_fresh_images_are_their_signal_and_the_whole_gradient_is_a_detail() -> None:
    found = findings_of("ab")
    views = {**found.views, "fresh": {"applied": steady("ab", [0.9, 0.8])}}
    found = dataclasses.replace(found, views=views)
    for table in (directions_table(found), rewards_table(found)):
        cell = table.rows[0][titles(table).index("fresh images")]
        assert cell.estimate.value < 0.5
    whole = next(each for each in detail_tables(found, []) if "whole gradient" in each.title)
    assert whole.rows[0][1].estimate.value == pytest.approx(0.9)


def test_views_that_no_batch_was_measured_in_have_no_column() -> None:
    found = findings_of("ab", measured=["batch"])
    assert titles(directions_table(found)) == ["direction", "own batch"]
    assert titles(rewards_table(found))[-1] == "own batch"
    assert [table.title for table in detail_tables(found, [])] == [
        "Mean cosine; share of batches in conflict: the own batch"
    ]


def test_a_direction_that_no_view_has_is_left_out() -> None:
    found = findings_of("ab", measured=["batch"])
    views = {**found.views, "batch": {**found.views["batch"], "update": absent("ab")}}
    table = directions_table(dataclasses.replace(found, views=views))
    assert "update" not in [row[0] for row in table.rows]


def test_pairs_keep_their_order() -> None:
    table = pairs_table(findings_of("abc"))
    assert [row[0] for row in table.rows] == ["a - b", "a - c", "b - c"]
    assert table.rows[0][1] == MeanCosine(findings_of("ab").pairs[0].cosine, 1.0)


def test_slices_are_shown_for_the_directions_that_are_asked_for() -> None:
    found = findings_of("ab", measured=["batch"])
    sliced = {"source x": {"applied": steady("ab", [0.1, 0.2]), "equal": absent("ab")}}
    found = dataclasses.replace(found, slices=sliced)
    tables = detail_tables(found, ["applied", "equal"])
    assert titles(tables[-1]) == ["reward", "source x"]
    assert [table.title.endswith("with the direction applied") for table in tables] == [False, True]


def test_batches_name_the_rewards_in_conflict() -> None:
    (record,) = records_of("abc", batches=1)
    table = batches_table([record], findings_of("abc"))
    assert titles(table) == ["step", "a", "b", "c", "worst", "worst of weighted-sum", "in conflict"]
    step, a, b, c, worst, weighted, against = table.rows[0]
    assert (step, worst, weighted, against) == (1, -0.3, None, "c")
    assert (a, b, c) == pytest.approx((0.4, 0.05, -0.3))


def test_a_reward_that_failed_is_a_row_that_says_so() -> None:
    found = without_images(findings_of("abc"), "b")
    rewards = rewards_table(found)
    for table in (rewards, *detail_tables(found, [])):
        assert [row[0] for row in table.rows] == ["a", "b (scored no image)", "c"]
    for table in (rewards, batches_table(records_of("abc"), found)):
        assert table.notes == (
            "b scored no image of any batch: the reward failed, or it applies to none of the "
            "prompts.",
        )
    assert rewards.rows[1][1] == 0
    assert np.isnan(rewards.rows[1][-1].estimate.value)
