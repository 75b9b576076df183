"""Gradients made short, so that those of many batches can be kept and compared.

A count sketch (Charikar, Chen and Farach-Colton 2002) gives every element a random sign, and adds
the elements up in a fixed number of places. The inner product of two sketches is on average that of
the vectors, and is off by about 1 / sqrt(size) of the product of their lengths. It is linear: the
sum of the sketches of a vector's pieces is the sketch of the vector.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from marblecli.types import FloatArray

SIZE = 2**16
"""Numbers of a sketch, whose products are off by 0.4 % of the lengths. Vectors of at most so many
elements keep their inner products exactly."""


def sketch(blocks: Iterable[Tensor], generator: torch.Generator, size: int = SIZE) -> FloatArray:
    """[K, size], the sketches of K vectors, of which each block has the elements [K, ...].

    ``generator``, on the CPU, must be in the same state for all vectors that are to be compared.
    """
    total: Tensor | None = None
    start = 0
    for block in blocks:
        flat = block.detach().flatten(1)
        if total is None:
            total = flat.new_zeros((len(flat), size), dtype=torch.float32)
        while flat.shape[1]:
            # Elements of one round of places never meet. Those of different rounds meet at random,
            # because the places are turned between rounds.
            piece, flat = flat[:, : size - start], flat[:, size - start :]
            places = slice(start, start + piece.shape[1])
            signs = torch.randint(0, 2, (piece.shape[1],), generator=generator, dtype=torch.int8)
            total[:, places] += piece.float() * (2 * signs - 1).to(piece.device)
            start = places.stop % size
            if start == 0:
                turn = int(torch.randint(size, (), generator=generator))
                total = total.roll(turn, dims=1)
    if total is None:
        raise ValueError("no blocks")
    found: FloatArray = total.double().cpu().numpy()
    return found
