"""Two evaluations side by side, image by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from marblecli.errors import BadInputError
from marblecli.types import EvaluationRecord, ScoredImage


@dataclass(frozen=True)
class ImagePair:
    """The images that two policies made of one prompt, from the same initial noise."""

    prompt: str
    source: str
    """As the first evaluation names it."""
    place: int
    """The prompt's place in its split, from 0."""
    number: int
    """Which of its prompt's images it is, from 0."""
    first: Mapping[str, float | None]
    """Scores by reward; None where the reward doesn't apply, or failed."""
    second: Mapping[str, float | None]


def pair_images(
    first: EvaluationRecord, second: EvaluationRecord
) -> dict[str, tuple[ImagePair, ...]]:
    """By split, the images of both evaluations that share prompt, place and number.

    They are in the first evaluation's order. Images that only one of the evaluations has are left
    out, as is a split that only one has. A pair shares its initial noise if both runs had the same
    ``run.seed``, model and resolution; the seed is checked where both records hold it.

    Raises BadInputError if the seeds differ: such images don't start from the same noise.
    """
    if None not in (first.seed, second.seed) and first.seed != second.seed:
        raise BadInputError(
            f"can't pair evaluations of the seeds {first.seed} and {second.seed}: their images "
            "start from different noise; compare runs of the same run.seed"
        )
    return {
        split: _pairs(images, second.images[split])
        for split, images in first.images.items()
        if split in second.images
    }


def _pairs(first: Sequence[ScoredImage], second: Sequence[ScoredImage]) -> tuple[ImagePair, ...]:
    others = {_identity(image): image for image in second}
    both = ((image, others.get(_identity(image))) for image in first)
    return tuple(
        ImagePair(one.prompt, one.source, one.place, one.number, one.scores, other.scores)
        for one, other in both
        if other is not None
    )


def _identity(image: ScoredImage) -> tuple[str, int, int]:
    return image.prompt, image.place, image.number
