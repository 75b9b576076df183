"""What the weights of a model take, counted from its parts on the meta device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

FULL = 4
"""Bytes of a float32."""


@dataclass(frozen=True)
class Weights:
    """The sizes of a network's weights."""

    shapes: tuple[tuple[int, ...], ...]
    """Of the parameters."""
    buffers: int
    """Elements of buffers that hold fractions; whole numbers take next to nothing."""

    @property
    def parameters(self) -> int:
        """Elements of all parameters."""
        return self.rows(1)

    def rows(self, processes: int) -> int:
        """Elements that the first of the processes holds, which share every parameter by rows."""
        return sum(self._parts(processes))

    def pinned(self, size: int, processes: int) -> int:
        """Bytes of those rows in pinned memory, with elements of ``size`` bytes.

        Torch hands out pinned memory in powers of two.
        """
        return sum(1 << (size * part - 1).bit_length() for part in self._parts(processes))

    def _parts(self, processes: int) -> Iterator[int]:
        for shape in self.shapes:
            part = -(-shape[0] // processes) if shape else 1
            for side in shape[1:]:
                part *= side
            yield part


def weights_of(network: nn.Module) -> Weights:
    """Those of a network on any device; shared parameters count once."""
    return Weights(
        shapes=tuple(tuple(parameter.shape) for parameter in network.parameters()),
        buffers=sum(x.numel() for x in network.buffers() if x.is_floating_point()),
    )


def bytes_of(part: nn.Module, size: int) -> int:
    """Bytes of a part that isn't trained, with elements of ``size`` bytes."""
    weights = weights_of(part)
    return size * (weights.parameters + weights.buffers)


def bytes_in_8_bits(part: nn.Module, size: int) -> int:
    """The same with the weights of linear layers in one byte each."""
    linear = sum(x.weight.numel() for x in part.modules() if isinstance(x, nn.Linear))
    return bytes_of(part, size) - (size - 1) * linear
