from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from marblecli.train.batch import TrainingBatch, row_halves, row_slices, split_halves

Cut = Callable[[TrainingBatch, int, int], TrainingBatch]


def test_groups_of_a_source_take_turns_and_are_never_split() -> None:
    sources = ["a"] * 6 + ["b"] * 4
    groups = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    halves = split_halves(sources, groups)
    assert halves.tolist() == [False, False, True, True, False, False, True, True, False, False]


def test_sources_with_one_group_each_do_not_all_fall_into_one_half() -> None:
    halves = split_halves(["a", "a", "b", "b"], np.array([0, 0, 1, 1]))
    assert halves.tolist() == [False, False, True, True]


def test_interleaved_sources_are_split_separately() -> None:
    halves = split_halves(["a", "b", "a", "b"], np.array([0, 1, 2, 3]))
    assert halves.tolist() == [False, True, True, False]


def test_halves_are_of_prompts_or_of_every_images_levels() -> None:
    sources, groups = ["a"] * 4, np.array([0, 0, 1, 1])
    whole = row_halves(sources, groups, 3, "prompts")
    assert whole.tolist() == [[False] * 3] * 2 + [[True] * 3] * 2
    assert row_halves(sources, groups, 3, "levels").tolist() == [[False, True, False]] * 4


def test_every_row_is_in_one_source_and_one_range_of_noise_levels() -> None:
    levels = torch.tensor([[0.1, 0.9], [0.5, 0.33], [1.0, 0.7]])
    slices = row_slices(["a", "b", "a"], levels)
    assert list(slices) == [
        "source a",
        "source b",
        "noise 0.0-0.33",
        "noise 0.33-0.67",
        "noise 0.67-1.0",
    ]
    by_source = torch.stack([slices["source a"], slices["source b"]]).sum(0)
    assert (by_source == 1).all()
    by_level = torch.stack([part for name, part in slices.items() if "noise" in name]).sum(0)
    assert (by_level == 1).all()
    assert slices["source a"].tolist() == [[True] * 2, [False] * 2, [True] * 2]
    assert slices["noise 0.0-0.33"].tolist() == [[True, False], [False, True], [False, False]]


def test_the_head_is_the_first_micro_batch(batch: TrainingBatch) -> None:
    head, rows = batch.head(4), next(batch.rows(4))
    assert head.micro_steps(4) == 1
    torch.testing.assert_close(head.latents, rows.latents)
    torch.testing.assert_close(head.levels[:, 0], rows.levels)
    for name, part in rows.conditioning.tensors.items():
        torch.testing.assert_close(head.conditioning.tensors[name], part)
    torch.testing.assert_close(head.shares, rows.shares)


def test_micro_steps_are_counted_without_making_them(batch: TrainingBatch) -> None:
    for size in (1, 2, 4, 5, 6, 100):
        assert batch.micro_steps(size) == len(list(batch.rows(size)))


def test_the_parts_of_a_batch_have_the_noise_of_the_whole(
    batch: TrainingBatch, part_of: Cut
) -> None:
    parts = [part_of(batch, 0, 4), part_of(batch, 4, 5), part_of(batch, 5, 6)]
    for index in range(batch.levels.shape[1]):
        whole = list(batch.rows(6))[index]
        rows = [list(part.rows(6))[index] for part in parts]
        assert torch.equal(torch.cat([row.noise for row in rows]), whole.noise)
        assert torch.equal(torch.cat([row.levels for row in rows]), whole.levels)
    assert {part.whole for part in parts} == {6}
    assert {part.whole_rows for part in parts} == {batch.levels.numel()}


def test_the_heads_of_the_parts_together_are_the_head_of_the_whole(
    batch: TrainingBatch, part_of: Cut
) -> None:
    """Here the first micro-batch has images of the first two processes, and none of the third."""
    parts = [part_of(batch, 0, 2), part_of(batch, 2, 5), part_of(batch, 5, 6)]
    heads = [part.head(4) for part in parts]
    assert [len(head.latents) for head in heads] == [2, 2, 0]
    assert {head.whole for head in heads} == {4}
    assert list(heads[2].rows(4)) == []
    assert heads[2].micro_steps(4) == 0
    (whole,) = batch.head(4).rows(4)
    found = torch.cat([row.noise for head in heads for row in head.rows(4)])
    assert torch.equal(found, whole.noise)
