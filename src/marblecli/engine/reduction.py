"""Sums over the processes of a run, as one object that is handed to the code that needs them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from marblecli.engine.processes import Processes

if TYPE_CHECKING:
    from torch import Tensor

    from marblecli.types import FloatArray


@dataclass(frozen=True)
class Reduction:
    """How gradients, and their inner products, are summed over the processes.

    If every process holds all weights, its gradients are those of its own images. They have to be
    summed; the inner products of the sums are then the same in all processes. If the weights are
    sharded, gradients are summed in the backward pass already, and every process holds its own rows
    of the sums. Inner products over these rows have to be summed instead.
    """

    processes: Processes = field(default_factory=Processes)
    sharded: bool = False
    """Whether every process holds only its own rows of the trained weights."""

    def gradients(self, tensors: Iterable[Tensor]) -> None:
        """Replace each gradient by its sum over the images of all processes, in place."""
        if not self.sharded:
            self.processes.sum_(tensors)

    def products(self, part: FloatArray) -> FloatArray:
        """Sums over the elements of all weights, from sums over the elements in this process.

        ``part`` is an array of any shape, and so is the result, which is the same in all processes,
        to the bit.
        """
        if not self.sharded:
            return part
        total: FloatArray = np.sum(self.processes.gather(part), axis=0)
        return total


ALONE = Reduction()
"""The reduction of a single process, where nothing has to be summed."""
