"""GenEval's rules on what was detected: no model, no image.

After ``evaluate_images.py`` of GenEval and ``flow_grpo/gen_eval.py`` of DiffusionNFT, which
Flow-GRPO introduced for training. An object is a box and, where a rule asks for it, a colour;
objects of a class come in falling order of confidence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from marble_reward_geneval.request import Clause, Request

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels; right and bottom are exclusive."""

MAX_OBJECTS = 16
"""Of one class; the least confident beyond that aren't seen."""
LOWEST = float(2 - MAX_OBJECTS)
"""The lowest official score: one object asked for, MAX_OBJECTS found."""
MARGIN = 0.1
_SLOPE = 0.5


@dataclass(frozen=True)
class Found:
    """A detected object."""

    box: Box
    colour: str | None = None
    """None if it wasn't looked at."""


Objects = Mapping[str, Sequence[Found]]
"""By class, in falling order of confidence."""


@dataclass(frozen=True)
class Judgement:
    """How far the objects meet a request, exact counts wanted."""

    parts: tuple[float, ...]
    """For each clause, as far as it was looked at: count, colour, position; 1 is met."""
    misplaced: int
    """Clauses whose objects and targets are there, but not in the relation."""
    correct: bool


def official(request: Request, objects: Objects, margin: float = MARGIN) -> float:
    """DiffusionNFT's training score, quirks included; at most 1, without a lower bound of 0.

    The mean of all parts. A count part is 1 - |found - wanted| / wanted, which is -14 for 16 dogs
    instead of one. The published code counts one part too many, of 1, for a misplaced clause: a
    reversed relation scores .75.
    """
    judgement = judge(request, objects, margin)
    parts = (*judgement.parts, *[1.0] * judgement.misplaced)
    return math.fsum(parts) / len(parts)


def clipped(request: Request, objects: Objects, margin: float = MARGIN) -> float:
    """The mean of all parts, each clipped to [0, 1], without the published code's extra part.

    Flow-GRPO's description (arXiv 2505.05470, section 5.1): part marks for the count, the rest for
    colour or position.
    """
    parts = [max(part, 0.0) for part in judge(request, objects, margin).parts]
    return math.fsum(parts) / len(parts)


def strict(request: Request, objects: Objects, margin: float = MARGIN) -> float:
    """1 if all clauses are met, counts exactly, else 0; exclusions aren't looked at."""
    return float(judge(request, objects, margin).correct)


def benchmark(request: Request, objects: Objects, margin: float = MARGIN) -> float:
    """1 if the image is correct by the GenEval benchmark, else 0.

    Counts are least counts, and only so many of the most confident objects of a class are looked
    at; exclusions must hold.
    """
    matched: list[Sequence[Found] | None] = []
    for clause in request.include:
        found = objects.get(clause.name, ())[: clause.count]
        met = (
            len(found) == clause.count
            and (clause.color is None or _right_coloured(clause, found) == clause.count)
            and (clause.position is None or _in_place(clause, found, matched, margin))
        )
        matched.append(found if met else None)
    crowded = any(len(objects.get(one.name, ())) >= one.count for one in request.exclude)
    return float(None not in matched and not crowded)


SCORES: dict[str, Callable[[Request, Objects, float], float]] = {
    "official": official,
    "clipped": clipped,
    "strict": strict,
    "benchmark": benchmark,
}
"""By the value of the option ``score``."""


def judge(request: Request, objects: Objects, margin: float = MARGIN) -> Judgement:
    """The training evaluator: exact counts, part marks, no exclusions.

    Where the count is wrong, a colour or position asked for is a part of 0 without being looked at;
    where the colour is wrong, the position isn't looked at and is no part.
    """
    parts: list[float] = []
    misplaced = 0
    matched: list[Sequence[Found] | None] = []
    for clause in request.include:
        found = objects.get(clause.name, ())
        parts.append(_share(len(found), clause.count))
        met = len(found) == clause.count
        if not met and (clause.color or clause.position):
            parts.append(0.0)
        if met and clause.color:
            right = _right_coloured(clause, found)
            parts.append(_share(right, clause.count))
            met = right == clause.count
        if met and clause.position:
            met = _in_place(clause, found, matched, margin)
            parts.append(float(met))
            misplaced += not met and matched[clause.position[1]] is not None
        matched.append(found if met else None)
    return Judgement(tuple(parts), misplaced, None not in matched)


def relations(one: Box, other: Box, margin: float = MARGIN) -> frozenset[str]:
    """Where ``one`` is, seen from ``other``: none, one or two of the four relations.

    The offset of the centres is shortened, on each axis, by ``margin`` times the two objects'
    extents, and divided by its whole length; beyond one half, the relation holds.
    """
    across, down = _offset(one, other, 0), _offset(one, other, 1)
    length = math.hypot(across, down)
    right = _beyond(across, margin * (_extent(one, 0) + _extent(other, 0)))
    below = _beyond(down, margin * (_extent(one, 1) + _extent(other, 1)))
    if max(abs(right), abs(below)) < 1e-3:
        return frozenset()
    shares = {
        "left of": -right / length,
        "right of": right / length,
        "above": -below / length,
        "below": below / length,
    }
    return frozenset(relation for relation, share in shares.items() if share > _SLOPE)


def _share(found: int, wanted: int) -> float:
    return 1 - abs(wanted - found) / wanted


def _right_coloured(clause: Clause, found: Sequence[Found]) -> int:
    return sum(one.colour == clause.color for one in found)


def _in_place(
    clause: Clause,
    found: Sequence[Found],
    matched: Sequence[Sequence[Found] | None],
    margin: float,
) -> bool:
    """Whether each object has the relation to each target; never if the target isn't matched."""
    if clause.position is None:
        return True
    relation, index = clause.position
    targets = matched[index]
    return targets is not None and all(
        relation in relations(one.box, target.box, margin) for one in found for target in targets
    )


def _offset(one: Box, other: Box, axis: int) -> float:
    return (one[axis] + one[axis + 2] - other[axis] - other[axis + 2]) / 2


def _extent(box: Box, axis: int) -> float:
    return abs(box[axis + 2] - box[axis])


def _beyond(offset: float, margin: float) -> float:
    """The offset, shortened by the margin towards zero."""
    return math.copysign(max(abs(offset) - margin, 0.0), offset)
