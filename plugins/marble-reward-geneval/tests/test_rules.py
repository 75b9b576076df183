"""GenEval's rules on hand-made detections; no detector, no image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marble_reward_geneval.request import Request, parse_request
from marble_reward_geneval.rules import (
    LOWEST,
    MAX_OBJECTS,
    Box,
    Found,
    benchmark,
    clipped,
    judge,
    official,
    relations,
    strict,
)

BOXES: dict[str, Box] = {
    "middle": (200, 200, 300, 300),
    "left": (0, 200, 100, 300),
    "right": (400, 200, 500, 300),
    "top": (200, 0, 300, 100),
    "bottom": (200, 400, 300, 500),
    "corner": (0, 0, 100, 100),
    "near": (210, 200, 310, 300),
}


def some(place: str = "middle", count: int = 1, colour: str | None = None) -> list[Found]:
    return [Found(BOXES[place], colour)] * count


def dogs(*colours: str, place: str = "middle") -> list[Found]:
    return [Found(BOXES[place], colour) for colour in colours]


def clause(name: str, count: int = 1, **more: Any) -> dict[str, Any]:
    return {"class": name, "count": count, **more}


def request(*include: dict[str, Any], exclude: list[dict[str, Any]] | None = None) -> Request:
    return parse_request({"include": list(include), "exclude": exclude or []})


def left_of(name: str, target: int = 0, relation: str = "left of") -> dict[str, Any]:
    return clause(name, position=[relation, target])


DOG = request(clause("dog"))
DOG_CAT = request(clause("dog"), clause("cat"))
TWO_DOGS = request(clause("dog", 2), exclude=[clause("dog", 3)])
FOUR_DOGS = request(clause("dog", 4), exclude=[clause("dog", 5)])
RED_DOG = request(clause("dog", color="red"))
TWO_RED_DOGS = request(clause("dog", 2, color="red"))
RED_DOG_BLUE_CAT = request(clause("dog", color="red"), clause("cat", color="blue"))
CAT_LEFT_OF_DOG = request(clause("dog"), left_of("cat"))
CAT_ABOVE_DOG = request(clause("dog"), left_of("cat", relation="above"))
RED_CAT_LEFT_OF_DOG = request(clause("dog"), {**left_of("cat"), "color": "red"})
CAT_LEFT_OF_RED_DOG = request(clause("dog", color="red"), left_of("cat"))
TWO_CATS_LEFT_OF_DOG = request(clause("dog"), {**left_of("cat"), "count": 2})
CHAIN = request(clause("dog"), left_of("cat"), left_of("cup", target=1))
RED_AND_BLUE_DOG = request(clause("dog", color="red"), clause("dog", color="blue"))
DOG_WITHOUT_CATS = request(clause("dog"), exclude=[clause("cat", 1)])


@dataclass(frozen=True)
class Case:
    request: Request
    objects: dict[str, list[Found]]
    scores: tuple[float, float, int, int]
    """official, clipped, strict, benchmark"""


CASES = {
    # Single object. The first two are figures of the published code.
    "one dog wanted, 3 found": Case(DOG, {"dog": some(count=3)}, (-1, 0, 0, 1)),
    "one dog wanted, 16 found": Case(DOG, {"dog": some(count=16)}, (-14, 0, 0, 1)),
    "one dog wanted, 1 found": Case(DOG, {"dog": some()}, (1, 1, 1, 1)),
    "one dog wanted, 2 found": Case(DOG, {"dog": some(count=2)}, (0, 0, 0, 1)),
    "one dog wanted, none found": Case(DOG, {}, (0, 0, 0, 0)),
    "one dog wanted, a cat found": Case(DOG, {"cat": some()}, (0, 0, 0, 0)),
    "a dog and what nobody asked for": Case(DOG, {"dog": some(), "cat": some()}, (1, 1, 1, 1)),
    # Two objects.
    "dog and cat, both": Case(DOG_CAT, {"dog": some(), "cat": some()}, (1, 1, 1, 1)),
    "dog and cat, no cat": Case(DOG_CAT, {"dog": some()}, (0.5, 0.5, 0, 0)),
    "dog and cat, neither": Case(DOG_CAT, {}, (0, 0, 0, 0)),
    "dog and cat, 2 cats": Case(DOG_CAT, {"dog": some(), "cat": some(count=2)}, (0.5, 0.5, 0, 1)),
    "dog and cat, 5 cats": Case(DOG_CAT, {"dog": some(), "cat": some(count=5)}, (-1, 0.5, 0, 1)),
    "dog and cat, 3 of each": Case(
        DOG_CAT, {"dog": some(count=3), "cat": some(count=3)}, (-1, 0, 0, 1)
    ),
    # Counting. 1, 3 and 5 for 2 are figures of the published code.
    "two dogs, 1 found": Case(TWO_DOGS, {"dog": some(count=1)}, (0.5, 0.5, 0, 0)),
    "two dogs, 3 found": Case(TWO_DOGS, {"dog": some(count=3)}, (0.5, 0.5, 0, 0)),
    "two dogs, 5 found": Case(TWO_DOGS, {"dog": some(count=5)}, (-0.5, 0, 0, 0)),
    "two dogs, 2 found": Case(TWO_DOGS, {"dog": some(count=2)}, (1, 1, 1, 1)),
    "two dogs, none found": Case(TWO_DOGS, {}, (0, 0, 0, 0)),
    "two dogs, 4 found": Case(TWO_DOGS, {"dog": some(count=4)}, (0, 0, 0, 0)),
    "four dogs, 3 found": Case(FOUR_DOGS, {"dog": some(count=3)}, (0.75, 0.75, 0, 0)),
    "four dogs, 4 found": Case(FOUR_DOGS, {"dog": some(count=4)}, (1, 1, 1, 1)),
    "four dogs, 16 found": Case(FOUR_DOGS, {"dog": some(count=16)}, (-2, 0, 0, 0)),
    # Colours. The first is a figure of the published code.
    "red dog, a blue one": Case(RED_DOG, {"dog": dogs("blue")}, (0.5, 0.5, 0, 0)),
    "red dog, a red one": Case(RED_DOG, {"dog": dogs("red")}, (1, 1, 1, 1)),
    "red dog, none": Case(RED_DOG, {}, (0, 0, 0, 0)),
    "red dog, red and blue": Case(RED_DOG, {"dog": dogs("red", "blue")}, (0, 0, 0, 1)),
    "red dog, blue surer than red": Case(RED_DOG, {"dog": dogs("blue", "red")}, (0, 0, 0, 0)),
    "red dog, colour not known": Case(RED_DOG, {"dog": some()}, (0.5, 0.5, 0, 0)),
    "two red dogs, 1 is blue": Case(TWO_RED_DOGS, {"dog": dogs("red", "blue")}, (0.75, 0.75, 0, 0)),
    "two red dogs, both blue": Case(TWO_RED_DOGS, {"dog": dogs("blue", "blue")}, (0.5, 0.5, 0, 0)),
    "two red dogs, 1 found": Case(TWO_RED_DOGS, {"dog": dogs("red")}, (0.25, 0.25, 0, 0)),
    "two red dogs, a third is blue": Case(
        TWO_RED_DOGS, {"dog": dogs("red", "red", "blue")}, (0.25, 0.25, 0, 1)
    ),
    # Colour attribution.
    "red dog and blue cat, both": Case(
        RED_DOG_BLUE_CAT, {"dog": dogs("red"), "cat": dogs("blue")}, (1, 1, 1, 1)
    ),
    "red dog and blue cat, swapped": Case(
        RED_DOG_BLUE_CAT, {"dog": dogs("blue"), "cat": dogs("red")}, (0.5, 0.5, 0, 0)
    ),
    "red dog and blue cat, cat is red": Case(
        RED_DOG_BLUE_CAT, {"dog": dogs("red"), "cat": dogs("red")}, (0.75, 0.75, 0, 0)
    ),
    "red dog and blue cat, no cat": Case(RED_DOG_BLUE_CAT, {"dog": dogs("red")}, (0.5, 0.5, 0, 0)),
    "red dog and blue cat, 3 blue cats": Case(
        RED_DOG_BLUE_CAT,
        {"dog": dogs("red"), "cat": dogs("blue", "blue", "blue")},
        (0.25, 0.5, 0, 1),
    ),
    "clauses are independent: one dog can't be red and blue": Case(
        RED_AND_BLUE_DOG, {"dog": dogs("red")}, (0.75, 0.75, 0, 0)
    ),
    "clauses are independent: two dogs are too many for each": Case(
        RED_AND_BLUE_DOG, {"dog": dogs("red", "blue")}, (0, 0, 0, 0)
    ),
    # Position. Reversed and without target are figures of the published code.
    "cat left of dog, reversed": Case(
        CAT_LEFT_OF_DOG, {"dog": some("left"), "cat": some("right")}, (0.75, 2 / 3, 0, 0)
    ),
    "cat left of dog, no dog": Case(CAT_LEFT_OF_DOG, {"cat": some("left")}, (1 / 3, 1 / 3, 0, 0)),
    "cat left of dog": Case(
        CAT_LEFT_OF_DOG, {"dog": some("right"), "cat": some("left")}, (1, 1, 1, 1)
    ),
    "cat left of dog, no cat": Case(CAT_LEFT_OF_DOG, {"dog": some()}, (1 / 3, 1 / 3, 0, 0)),
    "cat left of dog, nothing": Case(CAT_LEFT_OF_DOG, {}, (0, 0, 0, 0)),
    "cat left of dog, one over the other": Case(
        CAT_LEFT_OF_DOG, {"dog": some(), "cat": some()}, (0.75, 2 / 3, 0, 0)
    ),
    "cat left of dog, hardly": Case(
        CAT_LEFT_OF_DOG, {"dog": some("near"), "cat": some()}, (0.75, 2 / 3, 0, 0)
    ),
    "cat left of dog, above it": Case(
        CAT_LEFT_OF_DOG, {"dog": some("bottom"), "cat": some("top")}, (0.75, 2 / 3, 0, 0)
    ),
    "cat left of dog, diagonally": Case(
        CAT_LEFT_OF_DOG, {"dog": some(), "cat": some("corner")}, (1, 1, 1, 1)
    ),
    "cat left of dog, 2 dogs": Case(
        CAT_LEFT_OF_DOG, {"dog": some("right", 2), "cat": some("left")}, (1 / 3, 1 / 3, 0, 1)
    ),
    "cat left of dog, 2 cats, the surer one is": Case(
        CAT_LEFT_OF_DOG,
        {"dog": some(), "cat": some("left") + some("right")},
        (1 / 3, 1 / 3, 0, 1),
    ),
    "cat left of dog, 2 cats, the surer one isn't": Case(
        CAT_LEFT_OF_DOG,
        {"dog": some(), "cat": some("right") + some("left")},
        (1 / 3, 1 / 3, 0, 0),
    ),
    "cat above dog": Case(CAT_ABOVE_DOG, {"dog": some(), "cat": some("top")}, (1, 1, 1, 1)),
    "cat above dog, below it": Case(
        CAT_ABOVE_DOG, {"dog": some(), "cat": some("bottom")}, (0.75, 2 / 3, 0, 0)
    ),
    "two cats left of dog": Case(
        TWO_CATS_LEFT_OF_DOG, {"dog": some("right"), "cat": some("left", 2)}, (1, 1, 1, 1)
    ),
    "two cats left of dog, 1 is right of it": Case(
        TWO_CATS_LEFT_OF_DOG,
        {"dog": some(), "cat": some("left") + some("right")},
        (0.75, 2 / 3, 0, 0),
    ),
    "a cup left of a cat left of a dog": Case(
        CHAIN, {"dog": some("right"), "cat": some(), "cup": some("left")}, (1, 1, 1, 1)
    ),
    "a misplaced cat is no target for the cup": Case(
        CHAIN, {"dog": some("left"), "cat": some(), "cup": some("left")}, (4 / 6, 3 / 5, 0, 0)
    ),
    # Colour and position of one clause.
    "red cat left of dog": Case(
        RED_CAT_LEFT_OF_DOG,
        {"dog": some("right"), "cat": dogs("red", place="left")},
        (1, 1, 1, 1),
    ),
    "red cat left of dog, blue: position isn't looked at": Case(
        RED_CAT_LEFT_OF_DOG,
        {"dog": some("right"), "cat": dogs("blue", place="left")},
        (2 / 3, 2 / 3, 0, 0),
    ),
    "red cat left of dog, no cat: one part for both": Case(
        RED_CAT_LEFT_OF_DOG, {"dog": some()}, (1 / 3, 1 / 3, 0, 0)
    ),
    "a blue dog is no target where a red one is wanted": Case(
        CAT_LEFT_OF_RED_DOG,
        {"dog": dogs("blue", place="right"), "cat": some("left")},
        (0.5, 0.5, 0, 0),
    ),
    # Exclusions count in the benchmark alone.
    "a dog without cats": Case(DOG_WITHOUT_CATS, {"dog": some()}, (1, 1, 1, 1)),
    "a dog without cats, a cat": Case(
        DOG_WITHOUT_CATS, {"dog": some(), "cat": some()}, (1, 1, 1, 0)
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_by_hand(name: str) -> None:
    case = CASES[name]
    measured = [
        score(case.request, case.objects) for score in (official, clipped, strict, benchmark)
    ]
    assert measured == pytest.approx(list(case.scores))


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 40


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("left", "right", {"left of"}),
        ("right", "left", {"right of"}),
        ("top", "bottom", {"above"}),
        ("bottom", "top", {"below"}),
        ("corner", "middle", {"left of", "above"}),
        ("middle", "corner", {"right of", "below"}),
        ("middle", "middle", set()),
        ("near", "middle", set()),
    ],
)
def test_relations(one: str, other: str, expected: set[str]) -> None:
    assert relations(BOXES[one], BOXES[other]) == expected


@pytest.mark.parametrize(
    ("offset", "margin", "holds"),
    [
        # Two boxes of width 100: shortened by 0.1 * 200 = 20; (offset - 20) / offset > 0.5.
        (39, 0.1, False),
        (40, 0.1, False),
        (41, 0.1, True),
        (21, 0.1, False),
        (41, 0.2, False),
        (1, 0.0, True),
    ],
)
def test_the_margin_by_hand(offset: float, margin: float, holds: bool) -> None:
    one, other = (100.0 + offset, 0.0, 200.0 + offset, 100.0), (100.0, 0.0, 200.0, 100.0)
    assert relations(one, other, margin) == ({"right of"} if holds else set())
    assert relations(other, one, margin) == ({"left of"} if holds else set())


def test_parts_by_hand() -> None:
    reversed_cat = {"dog": some("left"), "cat": some("right")}
    judgement = judge(CAT_LEFT_OF_DOG, reversed_cat)
    assert judgement.parts == (1.0, 1.0, 0.0)
    assert (judgement.misplaced, judgement.correct) == (1, False)


COORDINATES = st.integers(0, 400)
FOUND = st.builds(
    lambda x, y, w, h, colour: Found((x, y, x + w, y + h), colour),
    COORDINATES,
    COORDINATES,
    st.integers(1, 112),
    st.integers(1, 112),
    st.sampled_from([None, "red", "blue"]),
)
OBJECTS = st.dictionaries(
    st.sampled_from(["dog", "cat", "cup"]), st.lists(FOUND, max_size=MAX_OBJECTS), max_size=3
)
REQUESTS = st.sampled_from([case.request for case in CASES.values()])


@given(wanted=REQUESTS, objects=OBJECTS)
def test_ranges_and_order_of_the_scores(wanted: Request, objects: dict[str, list[Found]]) -> None:
    soft, part_marks = official(wanted, objects), clipped(wanted, objects)
    right = strict(wanted, objects)
    assert LOWEST <= soft <= 1
    assert 0 <= part_marks <= 1
    assert right == float(soft == 1) == float(part_marks == 1)
    # Exact counts are at least those, so that only an exclusion can make them wrong.
    assert benchmark(wanted.model_copy(update={"exclude": ()}), objects) >= right


@given(one=FOUND, other=FOUND)
def test_relations_mirror(one: Found, other: Found) -> None:
    mirror = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
    there, back = relations(one.box, other.box), relations(other.box, one.box)
    assert {mirror[relation] for relation in there} == back
    assert not {"left of", "right of"} <= there
    assert not {"above", "below"} <= there
