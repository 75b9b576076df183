"""Sums over the processes of a run: one object, handed to whoever needs them."""

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
    """How gradients, and what is computed from them, are summed over the processes.

    Where every process holds all weights, its gradients are those of its own images: they are
    summed, and inner products of the sums are the same everywhere. Where weights are sharded, a
    gradient has been summed when it was scattered, and every process holds its own rows of it:
    inner products are summed instead.
    """

    processes: Processes = field(default_factory=Processes)
    sharded: bool = False
    """Whether every process holds its own rows of the trained weights only."""

    def gradients(self, tensors: Iterable[Tensor]) -> None:
        """Replace each gradient by its sum over the images of all processes, in place."""
        if not self.sharded:
            self.processes.sum_(tensors)

    def products(self, part: FloatArray) -> FloatArray:
        """Sums over the elements of all weights, from those over this process's elements.

        ``part`` is an array of any shape. The result is the same in all processes, to the bit.
        """
        if not self.sharded:
            return part
        total: FloatArray = np.sum(self.processes.gather(part), axis=0)
        return total


ALONE = Reduction()
"""Of a single process."""
