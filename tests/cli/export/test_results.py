from __future__ import annotations

import math

import numpy as np
import pytest

from marblecli.cli.export.results import changes_at
from marblecli.types import EvaluationRecord, ScoredImage

Scores = list[tuple[int, int, float | None]]
"""Place of the prompt, number of the image, score."""


def record(step: int, scores: Scores, subject: str = "trained") -> EvaluationRecord:
    images = tuple(ScoredImage(f"{p}", "s", p, n, {"ocr": score}) for p, n, score in scores)
    return EvaluationRecord(step, subject, {"train": images, "held-out": images}, seed=0)  # type: ignore[arg-type] # of a test's own subjects


BASE = record(0, [(0, 0, 0.1), (0, 1, 0.3), (1, 0, 0.2), (1, 1, None)], "base")


def test_images_are_paired_and_those_without_a_score_left_out() -> None:
    trained = record(5, [(1, 0, 0.4), (1, 1, 0.9), (0, 0, 0.2), (0, 1, 0.6)])
    found = changes_at([BASE, record(3, [(0, 0, 9.0)]), trained], 5)
    assert found.keys() == {"train", "held-out"}
    for changes in found.values():
        (change,) = changes
        assert change.images == 3
        assert change.start == pytest.approx(0.2)
        assert change.end == pytest.approx(0.4)
        assert change.low <= change.end - change.start <= change.high
        assert change.low < change.high


def test_where_nothing_can_be_resampled_there_is_no_interval() -> None:
    found = changes_at([BASE, record(5, [(0, 0, 0.2)])], 5)
    (change,) = found["held-out"]
    assert change.images == 1
    assert np.isnan([change.low, change.high]).all()


def test_a_step_that_was_not_evaluated_has_no_results() -> None:
    assert changes_at([BASE], 5) == {}
    assert changes_at([record(5, [(0, 0, 0.2)])], 5) == {}


def test_older_records_have_means_alone() -> None:
    base, trained = (
        EvaluationRecord(step, subject, {}, known_means={"train": {"ocr": mean}})
        for step, subject, mean in ((0, "base", 0.5), (5, "trained", 0.75))
    )
    (change,) = changes_at([base, trained], 5)["train"]
    assert (change.start, change.end, change.images) == (0.5, 0.75, 0)
    assert math.isnan(change.low)
