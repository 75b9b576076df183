"""A deep network made shallow: of many equal blocks in a row, three are enough to know the rest.

What a pass holds grows by the same bytes with every further block of a kind. So all but three of
each kind are taken out, and what the second of them leaves in memory is counted once more for each
block that is missing. The second stands between two blocks of its own kind, as the missing ones do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from torch import nn

_KEPT = 3


@dataclass(frozen=True)
class Stack:
    """Equal blocks that run one after the other, of which some were taken out."""

    typical: int
    """The place, among the blocks that are left, of the one that stands for those missing."""
    last: int
    """The place of the one after it, of the same kind."""
    missing: int
    """How many were taken out."""


def shorten(network: nn.Module, blocks: Sequence[nn.Module]) -> list[Stack]:
    """Take blocks out of ``network``; ``blocks`` are its repeated blocks in the order they run.

    Returns the stacks that lack some. The blocks must be children of ``nn.ModuleList``.
    """
    found, place = [], 0
    for _, group in groupby(blocks, key=_description):
        equal = list(group)
        surplus = equal[2 : len(equal) - (_KEPT - 2)]
        if surplus:
            found.append(Stack(place + 1, place + 2, len(surplus)))
            _remove(network, surplus)
        place += len(equal) - len(surplus)
    return found


def kinds(blocks: Sequence[nn.Module]) -> list[int]:
    """How many equal blocks run in a row, for each such row in the order in which they run."""
    return [len(list(group)) for _, group in groupby(blocks, key=_description)]


def keep(network: nn.Module, blocks: Sequence[nn.Module], kept: Sequence[int]) -> None:
    """Take blocks out of ``network`` until so many of each row of :func:`kinds` are left."""
    for (_, group), count in zip(groupby(blocks, key=_description), kept, strict=True):
        _remove(network, list(group)[count:])


def _description(block: nn.Module) -> str:
    """The same for blocks of the same layers and sizes."""
    return f"{block!r} {[tuple(parameter.shape) for parameter in block.parameters()]}"


def _remove(network: nn.Module, blocks: Sequence[nn.Module]) -> None:
    gone = {id(block) for block in blocks}
    for parent in list(_lists(network)):
        for place in reversed(range(len(parent))):
            if id(parent[place]) in gone:
                del parent[place]


def _lists(network: nn.Module) -> Iterator[nn.ModuleList]:
    return (each for each in network.modules() if isinstance(each, nn.ModuleList))
