from __future__ import annotations

import math

from marblecli.conflicts.record import ConflictRecord
from marblecli.runs.tracked_values import (
    change_values,
    conflict_values,
    evaluation_values,
    step_values,
)
from marblecli.types import EvaluationRecord, RewardChange, ScoredImage


def test_a_steps_numbers_are_named_by_reward() -> None:
    metrics = {
        "step": 3,
        "seconds": 2.5,
        "rewards": {"ocr": 0.25},
        "valid": {"ocr": 6, "aes": 0},
        "coefficients": {"ocr": 1.5, "aes": 0.0},
        "gradient_norm": 0.5,
        "worst_cosine": None,
        "faults": ["aes: no driver"],
        "micro_batch_size": 9,
    }
    assert step_values(metrics) == {
        "reward/ocr": 0.25,
        "valid/ocr": 6.0,
        "valid/aes": 0.0,
        "coefficient/ocr": 1.5,
        "coefficient/aes": 0.0,
        "step/seconds": 2.5,
        "step/gradient_norm": 0.5,
        "step/micro_batch_size": 9.0,
        "step/faults": 1.0,
    }


def test_a_measured_batch_has_cosines_by_direction() -> None:
    record = ConflictRecord(
        step=1,
        rewards=("ocr", "aes"),
        valid=(4, 4),
        norms=(1.0, 2.0),
        gram=((1.0, 0.0), (0.0, 4.0)),
        simplex_weights=(0.75, 0.25),
        coefficients=(1.0, 1.0),
        cosines={"applied": (0.5, None), "weighted-sum": (0.25, -0.5)},
    )
    assert conflict_values(record) == {
        "norm/ocr": 1.0,
        "norm/aes": 2.0,
        "weight/ocr": 0.75,
        "weight/aes": 0.25,
        "cosine-applied/ocr": 0.5,
        "cosine-weighted-sum/ocr": 0.25,
        "cosine-weighted-sum/aes": -0.5,
    }


def test_an_evaluation_has_means_and_its_time() -> None:
    images = tuple(
        ScoredImage("a cat", "plain", 0, number, {"ocr": score})
        for number, score in ((0, 0.25), (1, 0.75))
    )
    record = EvaluationRecord(4, "trained", {"held-out": images}, seconds=12.5)
    assert evaluation_values(record) == {"eval-held-out/ocr": 0.5, "eval/seconds": 12.5}
    assert evaluation_values(EvaluationRecord(0, "base", {})) == {}


def test_changes_have_their_intervals_and_a_failure_has_none() -> None:
    change = RewardChange("ocr", 0.25, 0.5, 0.125, 0.375, 0.25, 0.75, 8)
    failed = RewardChange("aes", *(math.nan,) * 6, 0, failure="no driver")
    assert change_values({"train": (change, failed)}) == {
        "eval-train/ocr-low": 0.25,
        "eval-train/ocr-high": 0.75,
        "eval-train/ocr-change": 0.25,
        "eval-train/ocr-change-low": 0.125,
        "eval-train/ocr-change-high": 0.375,
    }
