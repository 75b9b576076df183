"""Draw and write the pictures of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from pydantic import TypeAdapter

from marblecli.pictures.comparison import (
    Composed,
    FindBase,
    FindImage,
    compose_alone,
    compose_changed,
    compose_strip,
)
from marblecli.pictures.legend import LegendCell, Picture
from marblecli.pictures.tiles import reduced, to_image
from marblecli.runs.atomic import explaining_failure, replacing, write_text
from marblecli.runs.base_images import BaseImages, save_base_images
from marblecli.runs.image_files import format_of, save_image
from marblecli.runs.json_lines import to_json
from marblecli.runs.schema import stamped
from marblecli.types import EvaluationRecord

if TYPE_CHECKING:
    from torch import Tensor

_CELLS = TypeAdapter(tuple[LegendCell, ...])
_ENDINGS = {"prompts": "", "changed": "-changed"}


def save_samples(
    folder: Path,
    base: EvaluationRecord | None,
    record: EvaluationRecord,
    images: Mapping[str, Tensor],
) -> tuple[Picture, ...]:
    """Write the pictures of an evaluation to ``folder``; of the base model, also keep the images.

    ``images`` are float32 [B, 3, H, W] in [0, 1] by split, in the order of the record's. ``base``
    is the record of the base model, None if there is none.

    Raises:
        MarbleError: a file can't be written.
        BadInputError: the base model's images can't be read.

    """
    if record.subject == "base":
        save_base_images(folder / "base", record.images, images)
    sizes = [(part.shape[-1], part.shape[-2]) for part in images.values() if len(part)]
    if not sizes:
        return ()
    composed = _compose(folder, base, record, images)
    return tuple(_save(folder, record.step, each, sizes[0]) for each in composed)


def save_comparison(
    folder: Path,
    before: EvaluationRecord,
    after: EvaluationRecord,
    find: FindImage,
    find_before: FindBase,
    name: str,
) -> tuple[Picture, ...]:
    """Write the pictures of two evaluations of the same prompts; ``name`` is the first one's.

    Raises MarbleError if a file can't be written.
    """
    split = next(split for split, images in after.images.items() if images)
    size = find(split, 0).size
    strip = compose_strip(before, after, find, find_before, name)
    changed = compose_changed(before, after, find, find_before, name)
    composed = [strip] if changed is None else [strip, changed]
    return tuple(_save(folder, after.step, each, size) for each in composed)


def _compose(
    folder: Path,
    base: EvaluationRecord | None,
    record: EvaluationRecord,
    images: Mapping[str, Tensor],
) -> list[Composed]:
    def find(split: str, index: int) -> Image.Image:
        return reduced(to_image(images[split][index]))

    if record.subject == "base" or base is None:
        return [compose_alone(record, find)]
    kept = BaseImages.read(folder / "base")
    strip = compose_strip(base, record, find, kept.find)
    changed = compose_changed(base, record, find, kept.find)
    return [strip] if changed is None else [strip, changed]


def _save(folder: Path, step: int, composed: Composed, size: tuple[int, int]) -> Picture:
    """Write the picture and its legend; ``size`` is that of the images, (width, height)."""
    stem = f"step-{step:06d}{_ENDINGS[composed.kind]}"
    path = folder / f"{stem}.{format_of(size)}"
    legend = {
        "step": step,
        "kind": composed.kind,
        "title": composed.title,
        "picture": path.name,
        "cells": _CELLS.dump_python(composed.cells, mode="json"),
    }
    with explaining_failure(path):
        with replacing(path) as draft:
            save_image(draft, composed.picture)
        write_text(folder / f"{stem}.json", to_json(stamped(legend), indent=1))
    return Picture(step, composed.kind, composed.title, composed.cells, path)
