"""What a network is told of the prompts, in a form that is the same for every family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from marblecli.engine.copies import to_device

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Conditioning:
    """Named tensors that describe the prompts of B images; only the family knows what they mean.

    Every tensor has the B images first, whether it holds a sequence of tokens, one vector, a mask
    or a number for each image. So rows can be taken of all of them alike.
    """

    tensors: Mapping[str, Tensor]
    """Name -> [B, ...]."""

    def __getitem__(self, rows: Tensor | slice) -> Conditioning:
        """The conditioning of some of the images."""
        return Conditioning({name: tensor[rows] for name, tensor in self.tensors.items()})

    def to(self, device: torch.device) -> Conditioning:
        """The same on another device."""
        return Conditioning({name: to_device(part, device) for name, part in self.tensors.items()})


def stacked(each: Sequence[Conditioning]) -> Conditioning:
    """One conditioning of B images from those of B single prompts, whose tensors lack the B."""
    import torch

    names = each[0].tensors
    return Conditioning({name: torch.stack([one.tensors[name] for one in each]) for name in names})


def joined(parts: Sequence[Conditioning]) -> Conditioning:
    """The images of several conditionings, one after the other."""
    import torch

    names = parts[0].tensors
    return Conditioning({name: torch.cat([one.tensors[name] for one in parts]) for name in names})
