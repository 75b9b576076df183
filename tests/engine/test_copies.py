from __future__ import annotations

import pytest
import torch

from marblecli.engine.copies import CopiesToCpu, to_device


def test_each_copy_is_used_once_and_in_order() -> None:
    copies, used = CopiesToCpu(), []
    for number in range(5):
        copies.start(torch.full((3,), float(number)), lambda x: used.append(x[0].item()))
    assert used == [0.0, 1.0, 2.0]
    copies.settle()
    assert used == [0.0, 1.0, 2.0, 3.0, 4.0]
    copies.settle()
    assert len(used) == 5


@pytest.mark.gpu
def test_copies_from_the_device_are_complete_when_they_are_used() -> None:
    copies = CopiesToCpu()
    total = torch.zeros(2**22)
    for number in range(8):
        tensor = torch.full((2**22,), float(number), device="cuda")
        copies.start(tensor, total.add_)
        # The tensor is freed, and its memory may be taken by another, before the copy is complete.
        del tensor
        torch.full((2**22,), 1e6, device="cuda")
    copies.settle()
    assert torch.equal(total, torch.full_like(total, float(sum(range(8)))))


def test_a_tensor_that_is_on_the_device_is_not_copied() -> None:
    tensor = torch.randn(3)
    assert to_device(tensor, torch.device("cpu")) is tensor


def test_a_tensor_goes_to_a_device_other_than_cuda() -> None:
    moved = to_device(torch.randn(3), torch.device("meta"))
    assert moved.device.type == "meta"


@pytest.mark.gpu
def test_a_copy_to_cuda_is_complete_and_neither_side_waits() -> None:
    device = torch.device("cuda")
    tensor = torch.randn(1 << 22)
    busy = torch.ones(4096, 4096, device=device)
    to_device(tensor, device)
    torch.cuda.synchronize()
    for _ in range(50):
        busy = busy @ busy / 4096
    done = torch.cuda.Event()
    done.record()
    moved = to_device(tensor, device)
    assert not done.query(), "this process went on while the device was still multiplying"
    # The source may be changed before the copy is made.
    expected = tensor.clone()
    tensor.zero_()
    assert torch.equal(moved.cpu(), expected)


@pytest.mark.gpu
def test_a_tensor_that_is_on_cuda_is_not_copied() -> None:
    tensor = torch.randn(3, device="cuda")
    assert to_device(tensor, torch.device("cuda")) is tensor
