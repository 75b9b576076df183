"""What changed between two evaluations whose images are pairs: the same prompts, the same noise.

An interval is the percentile bootstrap of :mod:`marblecli.maths.bootstrap`. Where the images give
no basis for one, it is left out, and the reason is given instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from marblecli.maths.bootstrap import bootstrap_interval
from marblecli.seeding import stream
from marblecli.types import FloatArray, IntArray, RewardChange, RewardFault, ScoredImage

Resample = Literal["clusters", "within"]
"""``clusters`` draws whole prompts: the interval is for other prompts. ``within`` draws a prompt's
images: it is for other noise on the same prompts."""
MakeRng = Callable[[int], np.random.Generator]
"""(the reward's place) -> a generator, the same one whenever it is asked for."""

_NAN = math.nan


@dataclass(frozen=True)
class ScoredSplit:
    """The images of one split of an evaluation."""

    images: Sequence[ScoredImage]
    faults: Sequence[RewardFault] = ()

    def only(self, source: str) -> ScoredSplit:
        """The images of one prompt source; all faults."""
        return ScoredSplit([image for image in self.images if image.source == source], self.faults)

    @property
    def sources(self) -> tuple[str, ...]:
        """The prompt sources, in the order of the images."""
        return tuple(dict.fromkeys(image.source for image in self.images))


def split_changes(
    split: str, before: ScoredSplit, after: ScoredSplit, seed: int
) -> tuple[RewardChange, ...]:
    """:func:`paired_changes` of one split, with draws that depend on the run's ``seed`` alone.

    On training prompts, images are resampled within their prompt: the interval is for new noise on
    the same prompts. On other prompts, whole prompts are resampled: it is for new prompts.
    """
    resample: Resample = "within" if split == "train" else "clusters"

    def make_rng(index: int) -> np.random.Generator:
        return stream(seed, "bootstrap", index)

    return paired_changes(before, after, resample, make_rng)


def paired_changes(
    before: ScoredSplit, after: ScoredSplit, resample: Resample, make_rng: MakeRng
) -> tuple[RewardChange, ...]:
    """The change of every reward's mean, over the images that have a score in both.

    Images are paired by their prompt's place and their number. A reward that applies to no prompt
    is left out. One that failed on all images has a change that says so.
    """
    names = list(dict.fromkeys(name for image in after.images for name in image.scores))
    earlier = {(image.place, image.number): image.scores for image in before.images}
    found = []
    for index, name in enumerate(names):
        pairs = [
            (image.place, first, last)
            for image in after.images
            if (last := image.scores.get(name)) is not None
            and (first := earlier.get((image.place, image.number), {}).get(name)) is not None
        ]
        if pairs:
            places, start, end = (np.array(column) for column in zip(*pairs, strict=True))
            found.append(_change(name, places, start, end, (resample, make_rng, index)))
        elif failure := _failure(name, (after, before)):
            found.append(RewardChange(name, *(_NAN,) * 6, 0, failure=failure))
    return tuple(found)


def no_basis(clusters: IntArray, resample: Resample) -> str:
    """Why the images of these prompts give no basis for an interval; empty if they do."""
    prompts, counts = np.unique(clusters, return_counts=True)
    if len(clusters) == 1:
        return "one image"
    if resample == "clusters":
        return "one prompt" if len(prompts) == 1 else ""
    return "one image a prompt" if counts.max() == 1 else ""


def _change(
    name: str,
    places: IntArray,
    start: FloatArray,
    end: FloatArray,
    how: tuple[Resample, MakeRng, int],
) -> RewardChange:
    resample, make_rng, index = how
    reason = no_basis(places, resample)

    def interval(values: FloatArray) -> tuple[float, float, str]:
        if reason:
            return _NAN, _NAN, reason
        _, low, high = bootstrap_interval(values, places, resample, make_rng(index))
        # Equal draws say nothing about other prompts or noise, and rounding may part them.
        if math.isclose(low, high, rel_tol=1e-12, abs_tol=1e-15):
            return _NAN, _NAN, "no spread"
        return low, high, ""

    low, high, no_interval = interval(end - start)
    end_low, end_high, no_end_interval = interval(end)
    return RewardChange(
        reward=name,
        start=float(start.mean()),
        end=float(end.mean()),
        low=low,
        high=high,
        end_low=end_low,
        end_high=end_high,
        images=len(end),
        win_rate=float(np.mean((end > start) + 0.5 * (end == start))),
        no_interval=no_interval,
        no_end_interval=no_end_interval,
    )


def _failure(name: str, splits: Sequence[ScoredSplit]) -> str:
    """Why a reward without values failed; empty if it applies to no image."""
    faults = (fault for split in splits for fault in split.faults)
    return next((fault.message for fault in faults if fault.reward == name), "")
