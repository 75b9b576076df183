from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from marble_reward_geneval.instances import (
    MAX_INSTANCES,
    Geometry,
    Instance,
    box_of,
    find_instances,
)

SIDE = 8
FLAT = Geometry(image=(SIDE, SIDE), content=(SIDE, SIDE), canvas=(SIDE, SIDE))
LN_9 = 2.1972245773362196
"""The logit of 0.9."""


def class_logits(*rows: tuple[float, ...]) -> Tensor:
    """Logits whose softmax are these probabilities, the last one of "no object"."""
    return torch.tensor(rows).log()


def mask_logits(*masks: Tensor) -> Tensor:
    return torch.stack(masks)


def block(top: int, left: int, bottom: int, right: int, logit: float = LN_9) -> Tensor:
    """A mask that is sure outside of the block, and of it as the logit says."""
    mask = torch.full((SIDE, SIDE), -20.0)
    mask[top:bottom, left:right] = logit
    return mask


def find(
    classes: Tensor, masks: Tensor, threshold: float = 0.3, labels: tuple[int, ...] = (0, 1)
) -> list[Instance]:
    return find_instances(classes, masks, FLAT, threshold, labels)


def test_score_is_class_probability_times_mean_probability_in_the_mask() -> None:
    (found,) = find(class_logits((0.8, 0.1, 0.1)), mask_logits(block(2, 3, 6, 5)))
    assert found.score == pytest.approx(0.8 * 0.9, rel=1e-5)
    assert found.label == 0


def test_the_mean_is_over_the_mask_alone() -> None:
    mask = block(0, 0, 4, 4)
    mask[0:2, 0:4] = 20.0
    (found,) = find(class_logits((0.8, 0.1, 0.1)), mask_logits(mask))
    assert found.score == pytest.approx(0.8 * 0.95, rel=1e-5)


def test_the_box_ends_behind_the_last_pixel() -> None:
    (found,) = find(class_logits((0.8, 0.1, 0.1)), mask_logits(block(2, 3, 6, 5)))
    assert found.box == (3.0, 2.0, 5.0, 6.0)
    assert found.mask.dtype == np.bool_
    assert found.mask.sum() == 8
    assert found.mask[2:6, 3:5].all()


@pytest.mark.parametrize(
    ("rows", "columns", "box"),
    [
        (slice(0, 1), slice(0, 1), (0, 0, 1, 1)),
        (slice(7, 8), slice(7, 8), (7, 7, 8, 8)),
        (slice(0, 8), slice(0, 8), (0, 0, 8, 8)),
    ],
)
def test_boxes_by_hand(rows: slice, columns: slice, box: tuple[float, ...]) -> None:
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[rows, columns] = True
    assert box_of(mask) == box


def test_a_box_is_around_all_of_a_mask_in_pieces() -> None:
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[1, 6] = mask[5, 2] = True
    assert box_of(mask) == (2.0, 1.0, 7.0, 6.0)


@pytest.mark.parametrize(
    ("threshold", "labels"),
    # Scores are .9 * .9 = .81, .5 * .9 = .45 and .3 * .9 = .27.
    [(0.3, [0, 1]), (0.9, []), (0.8, [0]), (0.82, []), (0.2, [0, 1, 0])],
)
def test_only_what_scores_above_the_threshold(threshold: float, labels: list[int]) -> None:
    masks = mask_logits(*[block(0, 0, 4, 4)] * 3)
    found = find(
        class_logits((0.9, 0.05, 0.05), (0.1, 0.5, 0.4), (0.3, 0.1, 0.6)), masks, threshold
    )
    assert [instance.label for instance in found] == labels


def test_a_score_at_the_threshold_is_out() -> None:
    (found,) = find(class_logits((0.8, 0.1, 0.1)), mask_logits(block(0, 0, 4, 4)))
    assert not find(class_logits((0.8, 0.1, 0.1)), mask_logits(block(0, 0, 4, 4)), found.score)


def test_a_sure_class_with_an_unsure_mask_is_below_the_threshold_for_counting() -> None:
    classes, masks = class_logits((0.95, 0.025, 0.025)), mask_logits(block(0, 0, 4, 4, 0.8))
    assert len(find(classes, masks, 0.3)) == 1
    assert not find(classes, masks, 0.9)


def test_an_empty_mask_has_no_box_and_is_left_out() -> None:
    empty = torch.full((SIDE, SIDE), -0.1)
    assert not find(class_logits((0.9, 0.05, 0.05)), mask_logits(empty), 0.0)


def test_the_most_confident_comes_first() -> None:
    classes = class_logits((0.6, 0.2, 0.2), (0.9, 0.05, 0.05), (0.7, 0.2, 0.1))
    found = find(classes, mask_logits(*[block(0, 0, 4, 4)] * 3))
    assert [round(instance.score, 3) for instance in found] == [0.81, 0.63, 0.54]


def test_one_query_may_be_two_objects() -> None:
    """As in mmdet: pairs of query and class are ranked, not queries."""
    found = find(class_logits((0.5, 0.45, 0.05)), mask_logits(block(0, 0, 4, 4)))
    assert [instance.label for instance in found] == [0, 1]


def test_no_object_is_no_class() -> None:
    assert not find(class_logits((0.05, 0.05, 0.9)), mask_logits(block(0, 0, 4, 4)), 0.1)


def test_no_object_takes_no_place_among_the_hundred() -> None:
    rows = [(0.05, 0.05, 0.9)] * MAX_INSTANCES + [(0.1, 0.5, 0.4)]
    masks = mask_logits(*[block(0, 0, 4, 4)] * len(rows))
    assert [instance.label for instance in find(class_logits(*rows), masks)] == [1]


def test_only_the_classes_asked_for() -> None:
    classes = class_logits((0.5, 0.45, 0.05))
    found = find(classes, mask_logits(block(0, 0, 4, 4)), labels=(1,))
    assert [instance.label for instance in found] == [1]
    assert not find(classes, mask_logits(block(0, 0, 4, 4)), labels=())


def test_other_classes_take_their_place_among_the_hundred() -> None:
    """What isn't asked for counts among the most probable pairs, as in mmdet."""
    queries = MAX_INSTANCES + 1
    rows = [(0.9, 0.05, 0.05)] * (queries - 1) + [(0.1, 0.8, 0.1)]
    masks = mask_logits(*[block(0, 0, 4, 4)] * queries)
    assert not find(class_logits(*rows), masks, labels=(1,))
    assert len(find(class_logits(*rows[1:]), masks[1:], labels=(1,))) == 1


def test_padding_is_cut_off_before_masks_are_resized() -> None:
    """An image of 4 x 8, resized to 8 x 16, on a canvas of 16 x 16."""
    geometry = Geometry(image=(4, 8), content=(8, 16), canvas=(16, 16))
    mask = torch.full((8, 8), -20.0)
    mask[0:4, 4:8] = 20.0  # the right half of the content
    mask[4:8, :] = 20.0  # the padding
    (found,) = find_instances(class_logits((0.9, 0.1)), mask[None], geometry, 0.3, (0,))
    assert found.mask.shape == (4, 8)
    assert found.box == (4.0, 0.0, 8.0, 4.0)


def test_logits_are_resized_and_not_masks() -> None:
    """Between a logit of 3 and one of -1, the edge is three quarters of the way."""
    geometry = Geometry(image=(1, 16), content=(1, 16), canvas=(1, 16))
    mask = torch.tensor([[3.0, -1.0]])
    (found,) = find_instances(class_logits((0.9, 0.1)), mask[None], geometry, 0.0, (0,))
    assert found.box == (0.0, 0.0, 10.0, 1.0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_are_computed_in_single_precision(dtype: torch.dtype) -> None:
    classes, masks = class_logits((0.8, 0.1, 0.1)), mask_logits(block(2, 3, 6, 5))
    (exact,) = find(classes, masks)
    (found,) = find(classes.to(dtype), masks.to(dtype))
    assert found.score == pytest.approx(exact.score, rel=0.01)
    assert found.box == exact.box
