"""Evaluations with images, made up, for pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from marblecli.types import EvaluationRecord, ScoredImage

Score = Callable[[str, int, int], Mapping[str, float | None]]
"""(split, place, number) -> the image's scores."""


def evaluation(
    step: int, prompts: Mapping[str, Sequence[tuple[str, str]]], count: int, score: Score
) -> EvaluationRecord:
    """An evaluation of ``prompts`` (text and source, by split) with ``count`` images of each."""
    return EvaluationRecord(
        step=step,
        subject="trained" if step else "base",
        images={
            split: tuple(
                ScoredImage(text, source, place, number, score(split, place, number))
                for place, (text, source) in enumerate(listed)
                for number in range(count)
            )
            for split, listed in prompts.items()
        },
    )


def images_of(record: EvaluationRecord, height: int, width: int, seed: int) -> dict[str, Tensor]:
    """Smooth random images, [B, 3, height, width] by split."""
    g = torch.Generator().manual_seed(seed)
    return {
        split: torch.nn.functional.interpolate(
            torch.rand(len(images), 3, 4, 4, generator=g), (height, width), mode="bilinear"
        )
        for split, images in record.images.items()
    }
