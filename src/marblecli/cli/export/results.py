"""What a run's evaluations say of the weights that are exported."""

from __future__ import annotations

from collections.abc import Sequence

from marblecli.report.evaluated import Changes, base_of, changes_between
from marblecli.types import EvaluationRecord


def changes_at(evaluations: Sequence[EvaluationRecord], step: int) -> Changes:
    """By split, every reward's change from the base model to the average of that step.

    Empty if one of the two wasn't evaluated.
    """
    base = base_of(evaluations)
    trained = [each for each in evaluations if each.step == step and each.subject == "trained"]
    return changes_between(base, trained[-1]) if base is not None and trained else {}
