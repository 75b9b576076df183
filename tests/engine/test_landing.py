from __future__ import annotations

import pytest
import torch

from marblecli.engine.landing import Landings


def test_all_land_once_and_in_order() -> None:
    landings, used = Landings(), []
    for number in range(5):
        landings.expect(torch.full((3,), float(number)), lambda x: used.append(x[0].item()))
    assert used == [0.0, 1.0, 2.0]
    landings.settle()
    assert used == [0.0, 1.0, 2.0, 3.0, 4.0]
    landings.settle()
    assert len(used) == 5


@pytest.mark.gpu
def test_copies_from_the_device_are_complete_when_they_are_used() -> None:
    landings = Landings()
    total = torch.zeros(2**22)
    for number in range(8):
        tensor = torch.full((2**22,), float(number), device="cuda")
        landings.expect(tensor, total.add_)
        # Freed, and its memory taken by others, before its copy has arrived.
        del tensor
        torch.full((2**22,), 1e6, device="cuda")
    landings.settle()
    assert torch.equal(total, torch.full_like(total, float(sum(range(8)))))
