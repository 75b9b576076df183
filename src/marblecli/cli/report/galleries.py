"""The pictures of a run as galleries of the page: each prompt by itself, over time."""

from __future__ import annotations

from collections.abc import Sequence

from marblecli.pictures.legend import LegendCell, Picture, split_name
from marblecli.report.evaluated import spread
from marblecli.report.gallery import Exhibit, Frame, Gallery
from marblecli.runs.cuts import Cut, cut_out, whole

_STEPS = 12
"""Steps with a picture, at most."""
_SIDE, _GRID_SIDE = 320, 900
"""Pixels: the longest side of one image, and of a whole grid of an earlier version's run."""

_Key = tuple[str, int, int]
"""Split, the prompt's place, the image's number."""


def galleries_of(pictures: Sequence[Picture]) -> tuple[Gallery, ...]:
    """The same prompts over time; the images that changed most at the last step; or old grids.

    Raises BadInputError if a picture's file can't be read.
    """
    prompts = [each for each in pictures if each.kind == "prompts"]
    changed = [each for each in pictures if each.kind == "changed"]
    grids = [each for each in pictures if each.kind == "grid"]
    found = []
    if prompts:
        found.append(_over_time(spread(prompts, _STEPS)))
    if changed:
        found.append(_changed(changed[-1]))
    splits = dict.fromkeys(grid.cells[0].split for grid in grids if grid.cells)
    found += [_grids(split, [g for g in grids if g.cells[0].split == split]) for split in splits]
    return tuple(gallery for gallery in found if gallery.exhibits)


def _over_time(pictures: Sequence[Picture]) -> Gallery:
    bases: dict[_Key, Frame] = {}
    frames: dict[_Key, dict[int, Frame]] = {}
    cells: dict[_Key, LegendCell] = {}
    for picture in pictures:
        for cell, base, now in _cut(picture):
            key = (cell.split, cell.place, cell.number)
            cells.setdefault(key, cell)
            if base is not None:
                bases.setdefault(key, base)
            if now is not None:
                frames.setdefault(key, {})[picture.step] = now
    exhibits = (
        Exhibit(cell.prompt, split_name(cell.split), bases.get(key), frames.get(key, {}))
        for key, cell in cells.items()
    )
    return Gallery(
        "The same prompts over time",
        "Each pair is of one prompt, from the same noise, without guidance. The prompts were "
        "chosen by their place in the prompt files, not by score. Below each: the change of its "
        "scores since the base model.",
        tuple(exhibits),
    )


def _changed(picture: Picture) -> Gallery:
    exhibits = (
        Exhibit(cell.prompt, _gained(cell), base, {picture.step: now})
        for cell, base, now in _cut(picture)
        if now is not None
    )
    return Gallery(
        f"The images that changed most, at step {picture.step}",
        "Chosen by score: those that gained most first, and then those that lost most. They show "
        "what a change of the scores looks like, and aren't typical.",
        tuple(exhibits),
    )


def _gained(cell: LegendCell) -> str:
    word = "gained" if (cell.change or 0.0) > 0.0 else "lost"
    return f"{split_name(cell.split)} that {word}"


def _cut(picture: Picture) -> list[tuple[LegendCell, Frame | None, Frame | None]]:
    """Every cell with its base image and its trained image, as far as the picture has them."""
    boxes = [box for cell in picture.cells for box in (cell.base, cell.now) if box is not None]
    cuts = iter(cut_out(picture.path, boxes, _SIDE))
    found = []
    for cell in picture.cells:
        base = None if cell.base is None else _frame(next(cuts))
        now = None if cell.now is None else _frame(next(cuts), _notes(cell))
        found.append((cell, base, now))
    return found


def _frame(cut: Cut, notes: tuple[tuple[str, str], ...] = ()) -> Frame:
    return Frame(cut.data, cut.kind, cut.width, cut.height, notes)


def _notes(cell: LegendCell) -> tuple[tuple[str, str], ...]:
    return tuple(
        (name, f"{scores.change:+.3f}")
        for name, scores in cell.rewards.items()
        if scores.change is not None
    )


def _grids(split: str, pictures: Sequence[Picture]) -> Gallery:
    shown = spread(pictures, _STEPS)
    prompts = dict.fromkeys(cell.prompt for cell in shown[-1].cells)
    frames = {each.step: _frame(whole(each.path, _GRID_SIDE)) for each in shown}
    return Gallery(
        f"All images of each {split_name(split)}",
        "The images of each prompt stand beside each other.",
        (Exhibit("; ".join(prompts), "", None, frames),),
    )
