"""What trackers are told of a run: numbers by name, in groups by what stands before the slash.

=============================  ===================================================================
reward/NAME, valid/NAME        mean of the step's images, and how many have a score
coefficient/NAME               the factor of the reward's gradient in the step
cosine-DIRECTION/NAME          cosine of a measured batch's gradient with a direction
norm/NAME, weight/NAME         the gradient's norm and its weight on the simplex
step/...                       seconds, gradient_norm, worst_cosine, faults, micro_batch_size
eval-SPLIT/NAME                mean of an evaluation; and with ``-low``, ``-high``, ``-change``,
                               ``-change-low``, ``-change-high`` the 95 % intervals
eval/seconds                   how long an evaluation took
=============================  ===================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from marblecli.conflicts.record import ConflictRecord
from marblecli.types import EvaluationRecord, Json, RewardChange

Values = Mapping[str, float]
_OF_A_STEP = ("seconds", "gradient_norm", "worst_cosine", "micro_batch_size")
_BY_REWARD = {"reward": "rewards", "valid": "valid", "coefficient": "coefficients"}


def step_values(metrics: Mapping[str, Json]) -> Values:
    """Of one optimizer step, a line of ``metrics.jsonl``."""
    named = [
        (f"{group}/{name}", value)
        for group, key in _BY_REWARD.items()
        for name, value in metrics.get(key, {}).items()
    ]
    single = [(f"step/{key}", metrics.get(key)) for key in _OF_A_STEP]
    return _known([*named, *single, ("step/faults", len(metrics.get("faults", ())))])


def conflict_values(record: ConflictRecord) -> Values:
    """Of one measured batch."""
    columns = {
        "norm": record.norms,
        "weight": record.simplex_weights,
        **{f"cosine-{direction}": found for direction, found in record.cosines.items()},
    }
    return _known(
        (f"{group}/{name}", value)
        for group, column in columns.items()
        for name, value in zip(record.rewards, column, strict=True)
    )


def evaluation_values(record: EvaluationRecord) -> Values:
    """Of one evaluation."""
    means = (
        (f"eval-{split}/{name}", mean)
        for split, found in record.means.items()
        for name, mean in found.items()
    )
    return _known([*means, ("eval/seconds", record.seconds)])


def change_values(changes: Mapping[str, tuple[RewardChange, ...]]) -> Values:
    """Of the changes from the base model to an evaluation, by split."""
    return _known(
        (f"eval-{split}/{change.reward}-{name}", value)
        for split, found in changes.items()
        for change in found
        for name, value in (
            ("low", change.end_low),
            ("high", change.end_high),
            ("change", change.end - change.start),
            ("change-low", change.low),
            ("change-high", change.high),
        )
    )


def _known(values: Iterable[tuple[str, float | None]]) -> Values:
    """Without what isn't a number."""
    return {
        name: float(value) for name, value in values if value is not None and math.isfinite(value)
    }
