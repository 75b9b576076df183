"""Smoothing of what any method sees: Grams averaged over batches, and shrunk towards no conflict.

The optimal weights jump as the Gram changes, so the Gram is averaged, never the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from marblecli.types import BoolArray, FloatArray


@dataclass(frozen=True, eq=False)
class GramMemory:
    """Exponentially decayed sums over the batches so far; unusable rewards add zero."""

    gram: FloatArray
    """[K, K], of the unit gradients' Grams: its diagonal is the share of batches, by weight, in
    which each reward was usable."""
    norms: FloatArray
    """[K], of the gradients' norms."""


def remember(
    memory: GramMemory | None, unit_gram: FloatArray, norms: FloatArray, decay: float
) -> GramMemory:
    """The memory after one more batch, the earlier ones weighing ``decay`` in [0, 1) times as much.

    ``unit_gram`` [K, K] and ``norms`` [K] are zero where a reward is unusable.
    """
    if memory is None:
        memory = GramMemory(np.zeros_like(unit_gram), np.zeros_like(norms))
    return GramMemory(
        gram=decay * memory.gram + (1.0 - decay) * unit_gram,
        norms=decay * memory.norms + (1.0 - decay) * norms,
    )


def recall(memory: GramMemory, usable: BoolArray) -> tuple[FloatArray, FloatArray]:
    """The mean Gram of the unit gradients [K, K] and mean norms [K]; zero where not ``usable`` [K],
    which are to be those of the last batch.

    Scaled back to a unit diagonal, a sum of Grams is a Gram, whichever rewards were missing from
    which batch; what two rewards seldom showed together counts as orthogonal.
    """
    shares = np.where(usable, memory.gram.diagonal(), np.inf)
    roots = np.sqrt(shares)
    gram: FloatArray = memory.gram / roots / roots[:, None]
    np.fill_diagonal(gram, usable)
    return gram, memory.norms / shares


def shrink(unit_gram: FloatArray, shrinkage: float) -> FloatArray:
    """(1 - s) G + s I of [K, K]: every cosine times 1 - s, for s in [0, 1]; at 1, no conflict."""
    shrunk: FloatArray = (1.0 - shrinkage) * unit_gram
    np.fill_diagonal(shrunk, unit_gram.diagonal())
    return shrunk


@dataclass(frozen=True)
class Smoothing:
    """Stands between the batches and a method, whichever it is."""

    memory: float = 0.0
    """What the earlier batches count, in [0, 1)."""
    shrinkage: float = 0.0
    """In [0, 1]; at 1 the gradients are taken to be orthogonal."""

    @property
    def changes(self) -> bool:
        """Whether a method sees anything but the batch's own Gram."""
        return self.memory > 0.0 or self.shrinkage > 0.0

    def apply(
        self,
        unit_gram: FloatArray,
        norms: FloatArray,
        usable: BoolArray,
        earlier: GramMemory | None,
    ) -> tuple[FloatArray, FloatArray, GramMemory | None]:
        """The Gram [K, K] and norms [K] that the method sees, and the memory for the next batch.

        ``unit_gram`` [K, K] and ``norms`` [K] are zero where a reward isn't ``usable`` [K].
        """
        memory = None
        if self.memory > 0.0:
            memory = remember(earlier, unit_gram, norms, self.memory)
            unit_gram, norms = recall(memory, usable)
        return shrink(unit_gram, self.shrinkage) if self.shrinkage else unit_gram, norms, memory
