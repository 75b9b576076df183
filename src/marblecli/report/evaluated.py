"""What evaluations show: each reward's change since the base model, and between two runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

import numpy as np

from marblecli.maths.bootstrap import bootstrap_interval
from marblecli.maths.pairs import ImagePair, pair_images
from marblecli.seeding import stream
from marblecli.types import EvaluationRecord, FloatArray, IntArray, RewardChange

T = TypeVar("T")
Changes = Mapping[str, tuple[RewardChange, ...]]
"""By split."""


def base_of(evaluations: Sequence[EvaluationRecord]) -> EvaluationRecord | None:
    """The evaluation of the base model; None if there is none."""
    return next((each for each in evaluations if each.subject == "base"), None)


def changes_by_step(evaluations: Sequence[EvaluationRecord], most: int = 24) -> dict[int, Changes]:
    """By step, every reward's change since the base model; nothing if that wasn't evaluated.

    Of more than ``most`` evaluations, only that many are used, evenly spread with the last one.
    """
    base = base_of(evaluations)
    later = [each for each in evaluations if each.subject != "base"]
    if base is None:
        return {}
    return {each.step: changes_between(base, each) for each in spread(later, most)}


def spread(items: Sequence[T], most: int) -> list[T]:
    """All ``items``, or ``most`` of them, evenly spread from the first to the last one."""
    if len(items) <= most:
        return list(items)
    return [items[round(place * (len(items) - 1) / (most - 1))] for place in range(most)]


def changes_between(first: EvaluationRecord, second: EvaluationRecord) -> Changes:
    """By split, each reward's mean in both evaluations and the paired change with its interval.

    The intervals are those of :func:`marblecli.train.evaluate.changes`. Where the records hold no
    images, or there is nothing to resample, a change has no interval: its bounds are NaN.

    Raises BadInputError if the evaluations are of different seeds.
    """
    if not (first.images and second.images):
        return {
            split: tuple(
                _without_interval(name, means[name], after, 0)
                for name, after in second.means.get(split, {}).items()
                if name in means
            )
            for split, means in first.means.items()
            if split in second.means
        }
    seed = first.seed or 0
    return {
        split: _paired_changes(split, pairs, seed)
        for split, pairs in pair_images(first, second).items()
        if pairs
    }


def _paired_changes(split: str, pairs: Sequence[ImagePair], seed: int) -> tuple[RewardChange, ...]:
    places = np.array([pair.place for pair in pairs], dtype=np.int64)
    names = dict.fromkeys(name for pair in pairs for name in (*pair.first, *pair.second))
    found = []
    for index, name in enumerate(names):
        start, end = (_scores([side.get(name) for side in sides]) for sides in _sides(pairs))
        both = ~(np.isnan(start) | np.isnan(end))
        if both.any():
            rng = stream(seed, "bootstrap", index)
            found.append(_change(name, split, (start[both], end[both]), places[both], rng))
    return tuple(found)


def _sides(
    pairs: Sequence[ImagePair],
) -> tuple[list[Mapping[str, float | None]], list[Mapping[str, float | None]]]:
    return [pair.first for pair in pairs], [pair.second for pair in pairs]


def _scores(values: Sequence[float | None]) -> FloatArray:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _change(
    name: str,
    split: str,
    scores: tuple[FloatArray, FloatArray],
    places: IntArray,
    rng: np.random.Generator,
) -> RewardChange:
    start, end = scores
    # Training prompts stay the same, and only their noise is new; other prompts are drawn anew.
    resample: Literal["within", "clusters"] = "within" if split == "train" else "clusters"
    counts = np.unique(places, return_counts=True)[1]
    if (counts.max() if resample == "within" else len(counts)) < 2:
        return _without_interval(name, float(start.mean()), float(end.mean()), len(start))
    _, low, high = bootstrap_interval(end - start, places, resample, rng)
    return RewardChange(
        reward=name,
        start=float(start.mean()),
        end=float(end.mean()),
        low=low,
        high=high,
        end_low=math.nan,
        end_high=math.nan,
        images=len(start),
    )


def _without_interval(name: str, start: float, end: float, images: int) -> RewardChange:
    return RewardChange(name, start, end, *(math.nan,) * 4, images)
