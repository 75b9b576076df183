from __future__ import annotations

import pytest
import torch

from marblecli.engine.transfer import to_device


def test_where_it_is_already_nothing_is_copied() -> None:
    tensor = torch.randn(3)
    assert to_device(tensor, torch.device("cpu")) is tensor


def test_without_cuda_it_goes_as_it_is() -> None:
    moved = to_device(torch.randn(3), torch.device("meta"))
    assert moved.device.type == "meta"


@pytest.mark.gpu
def test_to_cuda_it_arrives_whole_and_neither_side_waits() -> None:
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
    # The source may go before the copy is made.
    expected = tensor.clone()
    tensor.zero_()
    assert torch.equal(moved.cpu(), expected)


@pytest.mark.gpu
def test_from_cuda_to_cuda_it_stays() -> None:
    tensor = torch.randn(3, device="cuda")
    assert to_device(tensor, torch.device("cuda")) is tensor
