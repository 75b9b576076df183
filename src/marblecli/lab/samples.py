"""Which images teach which rewards: the base model's advantages, by reward and prompt source.

MARBLE, arXiv 2605.06507, calls an image a specialist sample if it says much about one reward and
little about the others. The images are those of the training prompts that the base model's
evaluation sampled: several of each prompt, as in a training step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from marblecli.maths.advantages import advantages
from marblecli.types import BoolArray, EvaluationRecord, FloatArray

STRONG = 1.0
"""The advantage, in standard deviations, from which on an image says much about a reward."""


@dataclass(frozen=True)
class SampleFigure:
    """What the images of each source say about each reward."""

    rewards: tuple[str, ...]
    sources: tuple[str, ...]
    strength: FloatArray
    """[K, sources], the mean size of the advantages; NaN where the reward doesn't apply."""
    specialists: FloatArray
    """[K], the share of all images that say much about this reward and about no other."""
    generalists: float
    """The share of images that say much about two rewards or more."""
    silent: float
    """The share of images that say much about none."""
    images: int


def sample_figure(
    bases: Sequence[EvaluationRecord], rewards: Sequence[str], split: str = "train"
) -> SampleFigure | None:
    """Of all ``bases``, one for each seed; None if they have no prompt with several images."""
    parts, sources = [], []
    for base in bases:
        images = base.images.get(split, ())
        scores = [[image.scores.get(name) for name in rewards] for image in images]
        valid = np.array([[score is not None for score in row] for row in scores], dtype=bool)
        values = np.array([[score or 0.0 for score in row] for row in scores])
        groups = np.array([image.place for image in images], dtype=np.int64)
        if len(groups) == len(np.unique(groups)):
            continue
        parts.append((advantages(values, valid, groups), valid))
        sources += [image.source for image in images]
    if not parts:
        return None
    sizes = np.abs(np.concatenate([each for each, _ in parts]))
    valid = np.concatenate([each for _, each in parts])
    return _figure(sizes, valid, sources, rewards)


def _figure(
    sizes: FloatArray, valid: BoolArray, sources: Sequence[str], rewards: Sequence[str]
) -> SampleFigure:
    names = tuple(dict.fromkeys(sources))
    strength = np.full((len(rewards), len(names)), np.nan)
    for column, source in enumerate(names):
        rows = np.array([each == source for each in sources])
        counts, totals = valid[rows].sum(0), sizes[rows].sum(0)
        strength[:, column] = np.divide(
            totals, counts, out=np.full(len(rewards), np.nan), where=counts > 0
        )
    strong = (sizes >= STRONG) & valid
    number = strong.sum(1)
    return SampleFigure(
        rewards=tuple(rewards),
        sources=names,
        strength=strength,
        specialists=(strong & (number == 1)[:, None]).mean(0),
        generalists=float((number > 1).mean()),
        silent=float((number == 0).mean()),
        images=len(number),
    )
