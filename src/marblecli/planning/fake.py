"""Networks that take no memory, because their weights are fake tensors.

Networks are built on the meta device, where everything that makes policies works as it always does.
Fake tensors of the CPU take the weights' place afterwards, because the meta device has no autocast.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

from marblecli.engine.shards import Shards

_T = TypeVar("_T")


def faked(
    mode: FakeTensorMode, thing: _T, *networks: nn.Module, dtype: torch.dtype | None = None
) -> _T:
    """A copy of ``thing`` in which the weights of ``networks`` are fake tensors of ``mode``.

    ``thing`` may be anything that refers to the networks or to their weights; what it shares stays
    shared in the copy. ``dtype`` is the new type of the weights that are fractions; without it they
    keep theirs.
    """
    memo: dict[int, Any] = {}
    for network in networks:
        for weight in (*network.parameters(), *network.buffers()):
            if id(weight) not in memo:
                memo[id(weight)] = _fake(mode, weight, dtype)
    return copy.deepcopy(thing, memo)


def replace_weights(mode: FakeTensorMode, network: nn.Module) -> None:
    """Put fake tensors of ``mode`` in the place of the network's weights."""
    made: dict[int, Any] = {}
    for module in network.modules():
        for weights in (module._parameters, module._buffers):
            for name, weight in weights.items():
                if weight is not None and id(weight) not in made:
                    made[id(weight)] = _fake(mode, weight)
                weights[name] = None if weight is None else made[id(weight)]


def _fake(mode: FakeTensorMode, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    kept = like.dtype if dtype is None or not like.is_floating_point() else dtype
    with mode:
        new = torch.empty(like.shape, dtype=kept)
    return nn.Parameter(new, like.requires_grad) if isinstance(like, nn.Parameter) else new


@dataclass(frozen=True)
class FakeShards(Shards):
    """Shards of networks that come on the meta device; the rows are fake tensors."""

    mode: FakeTensorMode = field(default_factory=FakeTensorMode)

    def shard(self, network: nn.Module, blocks: Sequence[nn.Module]) -> None:
        """As of any shards, but that FSDP2 is given fake weights."""
        replace_weights(self.mode, network)
        super().shard(network, blocks)


class AlikeTensors(TorchFunctionMode):
    """Inside, ``torch.equal`` says yes: fake tensors have no values to compare.

    Pipelines compare a prompt's tokens with those that they had to cut off, only to warn of it.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return True if func is torch.equal else func(*args, **(kwargs or {}))
