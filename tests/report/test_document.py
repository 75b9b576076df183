from __future__ import annotations

import json
import math

import numpy as np
import pytest

from marblecli.conflicts.estimates import NOTHING
from marblecli.conflicts.summaries import summarise
from marblecli.report.document import (
    SCHEMA,
    direction_json,
    interval_json,
    or_none,
    print_document,
    table_json,
)
from marblecli.report.tables import Change, Column, Judged, MeanCosine, Table, WeightedCosine
from support.findings import SURE


def test_a_direction_worked_by_hand() -> None:
    """Eight batches of cosines .4 and -.2: always in conflict, and every interval is a point."""
    found = direction_json(summarise("ab", np.tile([[0.4, -0.2]], (8, 1, 1))))
    assert found == {
        "batches": 8,
        "fought_share": 1.0,
        "worst_cosine_mean": pytest.approx(-0.2),
        "worst_reward": "b",
        "intervals": {
            "fought_share": [1.0, 1.0],
            "worst_cosine_mean": pytest.approx([-0.2, -0.2]),
        },
        "per_reward": {
            name: {
                "fought_share": share,
                "cosine_mean": pytest.approx(cosine),
                "cosine_worst": cosine,
                "intervals": {
                    "fought_share": [share, share],
                    "cosine_mean": pytest.approx([cosine, cosine]),
                },
            }
            for name, share, cosine in (("a", 0.0, 0.4), ("b", 1.0, -0.2))
        },
    }


def test_what_is_no_number_is_null() -> None:
    assert (or_none(0.5), or_none(math.inf), or_none(math.nan)) == (0.5, None, None)
    assert interval_json(NOTHING) is None
    assert interval_json(SURE) == [-0.6, -0.4]
    nothing = direction_json(summarise("ab", np.full((3, 1, 2), np.nan)))
    assert json.loads(json.dumps(nothing, allow_nan=False))["worst_reward"] is None


def test_a_table_has_an_entry_for_every_cell() -> None:
    table = Table(
        "title",
        (
            Column("reward", "text"),
            Column("norm", "number", "mean"),
            Column("cosine", "estimate"),
            Column("verdict", "verdict"),
            Column("weighted", "weighted"),
        ),
        (
            ("a", 2.0, MeanCosine(SURE, 0.5, "b"), Judged("conflict", SURE), None),
            ("b", math.nan, MeanCosine(NOTHING), None, WeightedCosine(0.5, 0.25)),
        ),
        explanation="what it says",
        notes=("a note",),
    )
    sure = {"value": -0.5, "interval": [-0.6, -0.4]}
    document = json.loads(json.dumps(table_json(table), allow_nan=False))
    assert document["columns"][1] == {
        "title": "norm",
        "kind": "number",
        "note": "mean",
        "chance": None,
    }
    first, second = document["rows"]
    assert first[:2] == ["a", 2.0]
    assert first[2:4] == [
        {**sure, "fought_share": 0.5, "reward": "b"},
        {**sure, "verdict": "conflict"},
    ]
    assert second[:2] == ["b", None]
    assert second[2] == {"value": None, "interval": None, "fought_share": None, "reward": None}
    assert (first[4], second[3]) == (None, None)
    assert second[4] == {"value": 0.5, "simplex_weight": 0.25}
    assert (document["explanation"], document["notes"]) == ("what it says", ["a note"])


def test_a_change_has_its_interval_if_it_has_one() -> None:
    changes = (Change(0.2, 0.1, 0.3), Change(0.2, math.nan, math.nan))
    table = Table("title", (Column("change", "change"),), tuple((each,) for each in changes))
    assert [row[0] for row in table_json(table)["rows"]] == [
        {"value": 0.2, "interval": [0.1, 0.3]},
        {"value": 0.2, "interval": None},
    ]


def test_a_printed_document_is_all_there_is_and_says_its_schema(capsys) -> None:
    print_document({"batches": 3})
    assert json.loads(capsys.readouterr().out) == {"batches": 3, "schema": SCHEMA}
