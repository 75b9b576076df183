"""Which images of an evaluation are shown: by a fixed rule, or those that changed most."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from marblecli.types import EvaluationRecord, ScoredImage

Item = TypeVar("Item")


def evenly(images: Sequence[ScoredImage], count: int) -> tuple[int, ...]:
    """The indices of ``count`` images, by a rule that sees no score.

    They are the first images of prompts that are taken from all sources in turn, from the start of
    each source; in the order of the evaluation.
    """
    by_source: dict[str, list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        if image.number == 0:
            by_source[image.source].append(index)
    turns = itertools.zip_longest(*by_source.values())
    chosen = [index for turn in turns for index in turn if index is not None]
    return tuple(sorted(chosen[:count]))


@dataclass(frozen=True)
class Compared:
    """An image of the trained model, beside the base model's from the same noise."""

    split: str
    index: int
    """Its place in the evaluation's images of the split."""
    image: ScoredImage
    base: Mapping[str, float | None]
    """The base model's scores."""
    change: float | None
    """Mean over rewards of the change in standard deviations; None if no reward has one."""


def deviations(base: EvaluationRecord) -> dict[str, float]:
    """Each reward's standard deviation over all images of the base model that it has scored."""
    values: dict[str, list[float]] = defaultdict(list)
    for image in itertools.chain.from_iterable(base.images.values()):
        for name, score in image.scores.items():
            if score is not None:
                values[name].append(score)
    return {name: float(np.std(scores)) for name, scores in values.items()}


def compare(base: EvaluationRecord, now: EvaluationRecord) -> dict[str, tuple[Compared, ...]]:
    """By split, every image that the base evaluation also has, in the order of ``now``."""
    spread = deviations(base)
    return {
        split: tuple(_compared(split, images, base.images.get(split, ()), spread))
        for split, images in now.images.items()
    }


def _compared(
    split: str,
    images: Sequence[ScoredImage],
    base: Sequence[ScoredImage],
    spread: Mapping[str, float],
) -> Iterable[Compared]:
    before = {(image.place, image.number): image for image in base}
    for index, image in enumerate(images):
        earlier = before.get((image.place, image.number))
        if earlier is not None and earlier.prompt == image.prompt:
            change = _mean_change(earlier.scores, image.scores, spread)
            yield Compared(split, index, image, earlier.scores, change)


def _mean_change(
    before: Mapping[str, float | None],
    after: Mapping[str, float | None],
    spread: Mapping[str, float],
) -> float | None:
    changes = [
        (value - earlier) / spread[name]
        for name, value in after.items()
        if value is not None and (earlier := before.get(name)) is not None and spread.get(name)
    ]
    return float(np.mean(changes)) if changes else None


@dataclass(frozen=True)
class Extremes:
    """The images that changed most, and how many changed at all."""

    better: tuple[Compared, ...]
    worse: tuple[Compared, ...]
    better_count: int
    worse_count: int
    total: int


def extremes(images: Iterable[Compared], count: int) -> Extremes:
    """At most ``count`` of the images that gained most, and as many of those that lost most.

    Each prompt has at most one image among either. Images without a change are in neither.
    """
    known = [each for each in images if each.change is not None]
    better = sorted((e for e in known if _change(e) > 0), key=lambda e: -_change(e))
    worse = sorted((e for e in known if _change(e) < 0), key=_change)
    return Extremes(
        better=_first_of_each(better, _prompt, count),
        worse=_first_of_each(worse, _prompt, count),
        better_count=len(better),
        worse_count=len(worse),
        total=len(known),
    )


def _change(each: Compared) -> float:
    return each.change or 0.0


def _prompt(each: Compared) -> tuple[str, str]:
    return each.split, each.image.prompt


def _first_of_each(
    items: Iterable[Item], key: Callable[[Item], object], count: int
) -> tuple[Item, ...]:
    """The first item of each key, in order; at most ``count``."""
    first: dict[object, Item] = {}
    for item in items:
        first.setdefault(key(item), item)
    return tuple(itertools.islice(first.values(), count))
