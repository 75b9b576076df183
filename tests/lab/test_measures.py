from __future__ import annotations

import math

import pytest

from marblecli.lab.measures import cell_measures, measures_of
from marblecli.types import EvaluationRecord
from support.records import record_of

METRICS = [
    {"step": 1, "seconds": 2.0, "passes": {"forward": 10, "backward": 5}},
    {"step": 2, "seconds": 3.0, "passes": {"forward": 10, "backward": 0}},
]


def test_passes_and_seconds_are_summed_over_steps() -> None:
    last = EvaluationRecord(2, "trained", {}, distances={"held-out": 0.5, "train": 9.0})
    found = cell_measures(METRICS, [], last, "held-out")
    assert found.passes == pytest.approx(20 + 1.12 * 5)
    assert found.seconds == 5.0
    assert found.distance == 0.5
    assert math.isnan(found.fresh_worst)


def test_conflicts_are_those_of_the_signal_on_fresh_images() -> None:
    from dataclasses import replace

    vectors = [[1.0, 0.0], [0.0, 1.0]]
    nothing = [[0.0, 0.0]] * 2
    records = []
    for cosines in ((0.5, -0.25), (0.25, 0.125), (None, None)):
        record = record_of(vectors, vectors, fresh=(vectors, vectors, nothing))
        assert record.fresh is not None
        fresh = replace(record.fresh, signal_cosines={"applied": cosines})
        records.append(replace(record, fresh=fresh))
    found = cell_measures([], records, EvaluationRecord(2, "trained", {}), "held-out")
    assert found.fresh_conflicts == 0.25
    assert found.fresh_worst == pytest.approx(-0.0625)
    assert math.isnan(found.passes)


def test_a_method_has_the_mean_of_the_cells_that_are_known() -> None:
    one, other = (
        cell_measures(METRICS, [], EvaluationRecord(2, "trained", {}, distances=d), "held-out")
        for d in ({"held-out": 0.5}, {})
    )
    assert measures_of([one, other]).distance == 0.5
    assert measures_of([one, other]).seconds == 5.0
