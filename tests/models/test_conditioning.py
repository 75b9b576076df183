from __future__ import annotations

import torch

from marblecli.models.conditioning import Conditioning, joined, stacked


def made(count: int) -> Conditioning:
    """A sequence, a vector, a mask and a number for each image."""
    generator = torch.Generator().manual_seed(0)
    return Conditioning(
        {
            "words": torch.randn(count, 5, 3, generator=generator),
            "pooled": torch.randn(count, 4, generator=generator),
            "mask": torch.arange(5 * count).view(count, 5) % 2 == 0,
            "guidance": torch.arange(float(count)),
        }
    )


def same(one: Conditioning, other: Conditioning) -> bool:
    names = one.tensors.keys() | other.tensors.keys()
    return all(torch.equal(one.tensors[name], other.tensors[name]) for name in names)


def test_rows_of_all_tensors_stay_together() -> None:
    whole = made(4)
    part = whole[torch.tensor([2, 0, 2])]
    for name, tensor in whole.tensors.items():
        assert torch.equal(part.tensors[name], tensor[[2, 0, 2]])
    assert same(whole[1:3], whole[torch.tensor([1, 2])])


def test_single_prompts_are_stacked_and_batches_joined() -> None:
    whole = made(4)
    each = [Conditioning({name: t[row] for name, t in whole.tensors.items()}) for row in range(4)]
    assert same(stacked(each), whole)
    assert same(joined([whole[:1], whole[1:]]), whole)


def test_it_moves_whole() -> None:
    moved = made(2).to(torch.device("meta"))
    assert {part.device.type for part in moved.tensors.values()} == {"meta"}
