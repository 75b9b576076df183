"""How often a direction would be in conflict by chance, if no two gradients had anything in common.

A share of batches in conflict says something only beside this level. Unrelated gradients of many
parameters are orthogonal, but for a rest whose sign is that of a fair coin.

- A direction that is judged by K gradients which it wasn't made of has K signs, each negative with
  probability 1/2. At least one of them is negative with probability 1 - 2^-K: 97 % for K = 5.
- A direction d = sum_l c_l g_l that is judged by the g_k themselves has <g_k, d> = c_k ||g_k||². A
  positive coefficient can't give a conflict, a negative one must, and one of 0 leaves the coin. So
  the level is 0 % for every method that gives each gradient a positive coefficient, and
  1 - 2^-(K-1) for one that follows a single reward.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from marblecli.conflicts.judge import Direction
from marblecli.conflicts.record import ConflictRecord, Matrix, PartsRecord, to_matrix
from marblecli.conflicts.replay import replay_records
from marblecli.conflicts.views import VIEWS, View
from marblecli.types import FloatArray

Levels = Mapping[str, Mapping[str, float]]
"""Shares by chance: by view, then by direction."""
OWN = ("batch", "signal")
"""The views in which a direction is judged by the gradients that it was made of."""


def share_by_chance(signs: int) -> float:
    """The probability that at least one of so many independent, fair signs is negative."""
    return 1.0 - 0.5**signs


def own_share_by_chance(coefficients: FloatArray) -> float:
    """The same of a direction with these coefficients [K] of the unrelated gradients themselves."""
    if (coefficients < 0.0).any():
        return 1.0
    return share_by_chance(int((coefficients == 0.0).sum()))


def chance_levels(
    records: Sequence[ConflictRecord], directions: Sequence[Direction]
) -> dict[str, dict[str, float]]:
    """By view, then by direction: the share of batches in conflict by chance.

    A direction whose method isn't known takes its level in its own batches from ``applied``: the
    update is made of the same gradient and of unrelated earlier ones. It is NaN where that isn't
    known either, or where no batch was measured. Raises what
    :func:`marblecli.conflicts.judge.judge` raises.
    """
    own = {each.name: _own_level(records, each) for each in directions}
    known = own.get("applied", float("nan"))
    own = {name: known if np.isnan(level) else level for name, level in own.items()}
    return {
        name: own if name in OWN else dict.fromkeys(own, _other_level(records, view))
        for name, view in VIEWS.items()
    }


def unrelated(record: ConflictRecord) -> ConflictRecord:
    """The batch as it would be if gradients of different rewards had nothing in common."""
    parts = record.parts
    if parts is not None:
        names = [field.name for field in dataclasses.fields(PartsRecord)]
        parts = PartsRecord(**{name: _diagonal(getattr(parts, name)) for name in names})
    return dataclasses.replace(record, gram=_diagonal(record.gram), parts=parts)


def _own_level(records: Sequence[ConflictRecord], direction: Direction) -> float:
    if direction.balance is None:
        return float("nan")
    alone = [unrelated(record) for record in records]
    chosen = replay_records(alone, direction.balance, direction.loss_weights, "batch")
    levels = [
        own_share_by_chance(coefficients[np.array(record.norms) > 0.0])
        for record, (coefficients,) in zip(alone, chosen, strict=True)
        if coefficients is not None
    ]
    return _mean(levels)


def _other_level(records: Sequence[ConflictRecord], view: View) -> float:
    return _mean(
        [
            share_by_chance(int((trial.norms > 0.0).sum()))
            for record in records
            for trial in view.trials(record)
        ]
    )


def _diagonal(matrix: Matrix) -> Matrix:
    return to_matrix(np.diag(np.diag(np.array(matrix))))


def _mean(levels: Sequence[float]) -> float:
    return float(np.mean(levels)) if levels else float("nan")
