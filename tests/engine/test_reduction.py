from __future__ import annotations

import numpy as np
import torch

from marblecli.engine.processes import Processes
from marblecli.engine.reduction import ALONE, Reduction


class Twins(Processes):
    """Two processes that hold the same values."""

    def __init__(self) -> None:
        super().__init__(0, 2)
        self.summed: list[torch.Tensor] = []

    def gather(self, part):
        return [part, part]

    def sum_(self, tensors):
        self.summed += list(tensors)


def test_a_single_process_sums_nothing() -> None:
    part, gradient = np.arange(3.0), torch.ones(2)
    assert ALONE.products(part) is part
    ALONE.gradients([gradient])
    assert gradient.tolist() == [1.0, 1.0]


def test_gradients_of_whole_weights_and_products_of_sharded_ones_are_summed() -> None:
    part, gradient = np.arange(3.0), torch.ones(2)
    whole = Twins()
    Reduction(whole).gradients([gradient])
    assert whole.summed == [gradient]
    assert Reduction(whole).products(part) is part
    sharded = Twins()
    Reduction(sharded, sharded=True).gradients([gradient])
    assert sharded.summed == []
    assert Reduction(sharded, sharded=True).products(part).tolist() == [0.0, 2.0, 4.0]
