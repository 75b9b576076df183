from __future__ import annotations

import torch

from marblecli.models.passes import Passes


def test_images_of_both_kinds_of_passes_are_counted_until_they_are_taken() -> None:
    passes = Passes()
    passes.count(torch.zeros(3, 2))
    weight = torch.ones(2, requires_grad=True)
    velocity = torch.ones(5, 2) * weight
    passes.count(velocity)
    assert passes.take() == {"forward": 8, "backward": 0}
    for _ in range(2):
        torch.autograd.grad(velocity, weight, torch.ones(5, 2), retain_graph=True)
    assert passes.take() == {"forward": 0, "backward": 10}
    assert passes.take() == {"forward": 0, "backward": 0}
