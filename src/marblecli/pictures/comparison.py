"""The pictures of an evaluation: of prompts by a fixed rule, and of what changed most."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from PIL import Image

from marblecli.pictures.choice import Compared, compare, deviations, evenly, extremes
from marblecli.pictures.drawing import draw
from marblecli.pictures.legend import LegendCell, Scores, split_name
from marblecli.pictures.sheet import Cell, Note, Section, Sheet, Tile
from marblecli.types import EvaluationRecord, ScoredImage

PROMPTS = 8
"""Prompts of a picture, shared evenly among the splits."""
_REWARDS = 10
"""Rewards of a caption, at most; the others are in the JSON file beside the picture."""
_VISIBLE = 0.1
"""Standard deviations: a smaller change has no triangle."""

FindImage = Callable[[str, int], Image.Image]
"""(split, index in the evaluation's images) -> the trained model's image."""
FindBase = Callable[[str, ScoredImage], Image.Image | None]
"""(split, image) -> the base model's image from the same noise, if it was kept."""
_HEADINGS = {
    "train": "Prompts that are trained on",
    "held-out": "Held-out prompts, which are never trained on",
}
_BY_PLACE = "Prompts are chosen by their place in the prompt files, not by score."
_UNGUIDED = "All images are sampled without guidance."
_TRIANGLES = (
    f"A triangle marks a change of more than {_VISIBLE:g} standard deviations of the reward."
)


@dataclass(frozen=True)
class Composed:
    """A picture, and what it shows."""

    kind: Literal["prompts", "changed"]
    title: str
    picture: Image.Image
    cells: tuple[LegendCell, ...]


@dataclass(frozen=True)
class Entry:
    """One cell before it is drawn."""

    cell: LegendCell
    base: Image.Image | None
    now: Image.Image | None


def compose_alone(record: EvaluationRecord, find: FindImage) -> Composed:
    """Some prompts' images of one model with their scores, where there is nothing to compare."""
    base = record.subject == "base"
    sections = {}
    for split, indices in _chosen(record).items():
        images = ((index, record.images[split][index]) for index in indices)
        sections[_heading(split)] = [
            _entry_alone(split, image, find(split, index), base=base) for index, image in images
        ]
    title = "The base model, before training" if base else f"Step {record.step}"
    explanation = f"{_BY_PLACE} Below each: the scores of this image. {_UNGUIDED}"
    return _compose("prompts", (title, explanation), sections, deviations(record), record.step)


def compose_strip(
    base: EvaluationRecord,
    now: EvaluationRecord,
    find: FindImage,
    find_base: FindBase,
    before: str = "the base model",
) -> Composed:
    """Base and trained images of some prompts, the same ones in every evaluation.

    ``before`` is what ``base`` is called, where it isn't the base model.
    """
    compared = compare(base, now)
    sections = {}
    for split, indices in _chosen(now).items():
        pairs = {each.index: each for each in compared[split]}
        sections[_heading(split)] = [
            _entry(pairs[index], find, find_base) for index in indices if index in pairs
        ]
    title = f"From {before} to {_called(now)}, from the same noise"
    explanation = (
        f"{_BY_PLACE} Below each: the change of the rewards from the first image to the second. "
        f"{_TRIANGLES} {_UNGUIDED}"
    )
    return _compose("prompts", (title, explanation), sections, deviations(base), now.step)


def compose_changed(
    base: EvaluationRecord,
    now: EvaluationRecord,
    find: FindImage,
    find_base: FindBase,
    before: str = "the base model",
) -> Composed | None:
    """The images that gained most and those that lost most; None if none changed.

    Only images whose base image was kept are among them. ``before`` as in :func:`compose_strip`.
    """
    compared = [
        each
        for part in compare(base, now).values()
        for each in part
        if find_base(each.split, each.image) is not None
    ]
    found = extremes(compared, PROMPTS // 2)
    if not found.better and not found.worse:
        return None
    sections = {
        f"Changed most for the better ({found.better_count} of {found.total} images are better)": [
            _entry(each, find, find_base) for each in found.better
        ],
        f"Changed most for the worse ({found.worse_count} of {found.total} images are worse)": [
            _entry(each, find, find_base) for each in found.worse
        ],
    }
    title = f"The images that changed most from {before} to {_called(now)}"
    explanation = (
        "Chosen by score, so they aren't typical: by the mean over rewards of the change, each in "
        f"units of the reward's standard deviation among the images of {before}; at most one "
        f"image of a prompt. {_TRIANGLES}"
    )
    return _compose("changed", (title, explanation), sections, deviations(base), now.step)


def _chosen(record: EvaluationRecord) -> dict[str, tuple[int, ...]]:
    """By split, the indices of the images shown: half of them are of either split if there are two.

    The first splits get what can't be shared evenly.
    """
    splits = {split: images for split, images in record.images.items() if images}
    if not splits:
        return {}
    share, more = divmod(PROMPTS, len(splits))
    return {
        split: evenly(images, share + (place < more))
        for place, (split, images) in enumerate(splits.items())
    }


def _called(record: EvaluationRecord) -> str:
    return f"step {record.step}" if record.step else "the trained model"


def _heading(split: str) -> str:
    return _HEADINGS.get(split, f"Prompts of {split}")


def _entry(each: Compared, find: FindImage, find_base: FindBase) -> Entry:
    cell = replace(_cell(each.split, each.image, each.base, each.image.scores), change=each.change)
    return Entry(cell, find_base(each.split, each.image), find(each.split, each.index))


def _entry_alone(split: str, image: ScoredImage, shown: Image.Image, *, base: bool) -> Entry:
    nothing: dict[str, float | None] = {}
    before, after = (image.scores, nothing) if base else (nothing, image.scores)
    cell = _cell(split, image, before, after)
    return Entry(cell, shown, None) if base else Entry(cell, None, shown)


def _cell(
    split: str,
    image: ScoredImage,
    base: Mapping[str, float | None],
    now: Mapping[str, float | None],
) -> LegendCell:
    scores = {name: Scores(base.get(name), now.get(name)) for name in image.scores}
    applied = {
        name: each for name, each in scores.items() if each.base is not None or each.now is not None
    }
    return LegendCell(image.prompt, image.source, split, image.place, image.number, applied)


def _compose(
    kind: Literal["prompts", "changed"],
    words: tuple[str, str],
    sections: Mapping[str, Sequence[Entry]],
    spread: Mapping[str, float],
    step: int,
) -> Composed:
    filled = {heading: entries for heading, entries in sections.items() if entries}
    sheet = Sheet(
        *words,
        tuple(
            Section(heading, tuple(_drawn_cell(entry, spread, step, kind) for entry in entries))
            for heading, entries in filled.items()
        ),
    )
    drawn = draw(sheet)
    entries = [entry for part in filled.values() for entry in part]
    cells = []
    for entry, boxes in zip(entries, drawn.boxes, strict=True):
        left = list(boxes)
        base = left.pop(0) if entry.base is not None else None
        now = left.pop(0) if entry.now is not None else None
        cells.append(replace(entry.cell, base=base, now=now))
    return Composed(kind, words[0], drawn.image, tuple(cells))


def _drawn_cell(entry: Entry, spread: Mapping[str, float], step: int, kind: str) -> Cell:
    label = "base"
    if kind == "changed":
        label = f"base, {split_name(entry.cell.split)}"
    pairs = ((label, entry.base), (f"step {step}", entry.now))
    tiles = tuple(Tile(label, image) for label, image in pairs if image is not None)
    notes = [_note(name, each, spread.get(name, 0.0)) for name, each in entry.cell.rewards.items()]
    if len(notes) > _REWARDS:
        more = len(notes) - _REWARDS + 1
        notes = [*notes[: _REWARDS - 1], Note(f"and {more} more rewards", "")]
    return Cell(tiles, entry.cell.prompt, tuple(notes))


def _note(name: str, scores: Scores, spread: float) -> Note:
    decimals = max(0, 1 + math.ceil(-math.log10(spread))) if spread > 0 else 3
    if scores.change is None:
        known = scores.base if scores.now is None else scores.now
        return Note(name, "none" if known is None else f"{known:.{decimals}f}")
    value = f"{scores.change:+.{decimals}f}"
    if not float(value):
        value = value[1:]
    if abs(scores.change) <= _VISIBLE * spread:
        return Note(name, value)
    return Note(name, value, "up" if scores.change > 0 else "down")
