"""What a run's evaluations say of the weights that are exported."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from marblecli.maths.bootstrap import bootstrap_interval
from marblecli.maths.pairs import ImagePair, pair_images
from marblecli.seeding import stream
from marblecli.types import EvaluationRecord, RewardChange


def changes_at(
    evaluations: Sequence[EvaluationRecord], step: int
) -> dict[str, tuple[RewardChange, ...]]:
    """By split, every reward's change from the base model to the average of that step.

    The intervals are those of :func:`marblecli.train.evaluate.changes`. They are NaN where there is
    nothing to resample, and in records of older versions, which have means alone. Empty if one of
    the two wasn't evaluated.
    """
    base = next((each for each in evaluations if each.subject == "base"), None)
    trained = [each for each in evaluations if each.step == step and each.subject == "trained"]
    if base is None or not trained:
        return {}
    if not (base.images and trained[-1].images):
        return _without_images(base, trained[-1])
    pairs = pair_images(base, trained[-1])
    return {split: _changes(split, found, base.seed or 0) for split, found in pairs.items()}


def _without_images(
    base: EvaluationRecord, trained: EvaluationRecord
) -> dict[str, tuple[RewardChange, ...]]:
    nothing = (math.nan, math.nan)
    return {
        split: tuple(
            _of_means(name, base.means[split][name], mean, nothing, 0)
            for name, mean in means.items()
            if name in base.means.get(split, {})
        )
        for split, means in trained.means.items()
    }


def _changes(split: str, pairs: Sequence[ImagePair], seed: int) -> tuple[RewardChange, ...]:
    names = dict.fromkeys(name for pair in pairs for name in pair.second)
    found = (_change(split, pairs, name, seed, index) for index, name in enumerate(names))
    return tuple(change for change in found if change is not None)


def _change(
    split: str, pairs: Sequence[ImagePair], name: str, seed: int, index: int
) -> RewardChange | None:
    both = [
        (pair.first.get(name), pair.second.get(name), pair.place)
        for pair in pairs
        if pair.first.get(name) is not None and pair.second.get(name) is not None
    ]
    if not both:
        return None
    start, end = (np.array([row[side] for row in both], dtype=np.float64) for side in (0, 1))
    places = np.array([place for _, _, place in both], dtype=np.int64)
    resample: Literal["within", "clusters"] = "within" if split == "train" else "clusters"
    counts = np.unique(places, return_counts=True)[1]
    low = high = math.nan
    if (counts.max() if resample == "within" else len(counts)) > 1:
        rng = stream(seed, "bootstrap", index)
        _, low, high = bootstrap_interval(end - start, places, resample, rng)
    return _of_means(name, start.mean(), end.mean(), (low, high), len(both))


def _of_means(
    name: str, start: float, end: float, interval: tuple[float, float], images: int
) -> RewardChange:
    return RewardChange(name, float(start), float(end), *interval, math.nan, math.nan, images)
