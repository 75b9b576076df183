from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from marblecli.pictures import comparison
from marblecli.pictures.comparison import (
    Composed,
    compose_alone,
    compose_changed,
    compose_strip,
)
from marblecli.pictures.legend import Scores
from marblecli.types import EvaluationRecord, ScoredImage
from support.pictures import evaluation

PROMPTS = {
    "train": [(f"t{n}", "st"[n % 2]) for n in range(6)],
    "held-out": [(f"h{n}", "st"[n % 2]) for n in range(6)],
}
BASE = evaluation(0, PROMPTS, 2, lambda split, place, number: {"x": float(number), "y": None})
NOW = evaluation(
    7, PROMPTS, 2, lambda split, place, number: {"x": number + (place - 2) / 10, "y": None}
)


def colour_of(image: ScoredImage, split: str, step: int) -> tuple[int, int, int]:
    return 40 * image.place + 20 * image.number, 200 if split == "train" else 100, 30 * step


def find(record: EvaluationRecord) -> comparison.FindImage:
    return lambda split, index: Image.new(
        "RGB", (32, 32), colour_of(record.images[split][index], split, record.step)
    )


def find_base(split: str, image: ScoredImage) -> Image.Image:
    return Image.new("RGB", (32, 32), colour_of(image, split, 0))


def assert_images_are_in_their_boxes(composed: Composed) -> None:
    pixels = np.asarray(composed.picture)
    for cell in composed.cells:
        image = ScoredImage(cell.prompt, cell.source, cell.place, cell.number, {})
        for step, box in ((0, cell.base), (7, cell.now)):
            assert box is not None
            left, top, right, bottom = box
            wanted = colour_of(image, cell.split, step)
            assert (pixels[top:bottom, left:right] == wanted).all()


def test_a_strip_shows_half_its_prompts_of_each_split() -> None:
    composed = compose_strip(BASE, NOW, find(NOW), find_base)
    assert [(cell.split, cell.place) for cell in composed.cells] == [
        (split, place) for split in ("train", "held-out") for place in range(4)
    ]
    assert composed.cells[3].rewards == {"x": Scores(0.0, 0.1)}
    assert_images_are_in_their_boxes(composed)


def test_the_same_prompts_are_shown_whatever_the_scores() -> None:
    other = evaluation(9, PROMPTS, 2, lambda split, place, number: {"x": 3.0 * place})
    one, two = (compose_strip(BASE, each, find(each), find_base) for each in (NOW, other))
    assert [cell.prompt for cell in one.cells] == [cell.prompt for cell in two.cells]


def test_a_single_split_has_the_whole_strip() -> None:
    prompts = {"train": [(f"t{n}", "s") for n in range(20)]}
    alone = evaluation(0, prompts, 1, lambda *_: {"x": 1.0})
    assert len(compose_alone(alone, find(alone)).cells) == comparison.PROMPTS


@pytest.mark.parametrize(("record", "role"), [(BASE, "base"), (NOW, "now")])
def test_without_anything_to_compare_with_the_scores_stand_alone(
    record: EvaluationRecord, role: str
) -> None:
    composed = compose_alone(record, find(record))
    for cell in composed.cells:
        assert (cell.base is None) == (role == "now")
        assert (cell.now is None) == (role == "base")
        assert cell.rewards["x"].change is None
        assert getattr(cell.rewards["x"], role) is not None


def test_what_changed_most_stands_first_better_then_worse() -> None:
    composed = compose_changed(BASE, NOW, find(NOW), find_base)
    assert composed is not None
    changes = [cell.change or 0.0 for cell in composed.cells]
    better = [change for change in changes if change > 0]
    assert changes[: len(better)] == sorted(better, reverse=True)
    assert changes[len(better) :] == sorted(changes[len(better) :])
    # The standard deviation of x is 1/2, so its greatest change of 0.3 is 0.6.
    assert changes[0] == pytest.approx(0.6)
    assert_images_are_in_their_boxes(composed)


def test_an_image_whose_base_was_not_kept_is_not_among_them() -> None:
    def only_training(split: str, image: ScoredImage) -> Image.Image | None:
        return find_base(split, image) if split == "train" else None

    composed = compose_changed(BASE, NOW, find(NOW), only_training)
    assert composed is not None
    assert {cell.split for cell in composed.cells} == {"train"}
    strip = compose_strip(BASE, NOW, find(NOW), only_training)
    assert all(cell.now for cell in strip.cells)
    assert {cell.split for cell in strip.cells if cell.base is None} == {"held-out"}


def test_nothing_changed_is_no_picture() -> None:
    assert compose_changed(BASE, BASE, find(BASE), find_base) is None


@pytest.mark.parametrize(
    ("before", "after", "spread", "value", "direction"),
    [
        (0.5, 0.75, 0.3, "+0.25", "up"),
        (0.5, 0.48, 0.3, "-0.02", "none"),
        (0.5, 0.4999, 0.3, "0.00", "none"),
        (0.27, 0.25, 0.02, "-0.020", "down"),
        (20.0, 23.0, 5.0, "+3.0", "up"),
        (1.0, 1.5, 0.0, "+0.500", "up"),
        (1.0, None, 0.3, "1.00", "none"),
        (None, 1.0, 0.3, "1.00", "none"),
    ],
)
def test_a_change_has_the_decimals_that_its_spread_asks_for(
    before: float | None, after: float | None, spread: float, value: str, direction: str
) -> None:
    note = comparison._note("x", Scores(before, after), spread)
    assert (note.value, note.direction) == (value, direction)


def test_a_caption_of_many_rewards_says_how_many_more_there_are() -> None:
    many = evaluation(0, PROMPTS, 1, lambda *_: {f"r{n}": float(n) for n in range(25)})
    entry = comparison._entry_alone(
        "train", many.images["train"][0], Image.new("RGB", (8, 8)), base=True
    )
    notes = comparison._drawn_cell(entry, {}, 0, "prompts").notes
    assert [note.name for note in notes][-2:] == ["r8", "and 16 more rewards"]
    assert len(entry.cell.rewards) == 25
