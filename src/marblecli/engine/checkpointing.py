"""Gradient checkpointing of a transformer's blocks, for one backward pass or for several at once.

Only the blocks' inputs are kept; a backward pass computes their activations again. Two passes over
one graph would do that twice, so :meth:`BlockCheckpoints.backward` takes all cotangents together,
block by block: counted in forward passes, with a backward pass costing b, n cotangents take 1 + n b
after the forward pass instead of n (1 + b).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from marblecli.engine.shards import UNSHARDED, Shards

Prepare = Callable[[int], None]
"""Called with a cotangent's number before it goes through a piece of the graph."""


@dataclass(frozen=True)
class _Segment:
    """One block, cut out of the graph."""

    block: nn.Module
    inputs: tuple[Any, ...]
    outputs: tuple[Tensor | None, ...]
    """Without a graph; those of the next block's inputs that are theirs are these very tensors."""
    autocast: torch.autocast

    def computed_again(self) -> tuple[list[Tensor | None], tuple[Tensor | None, ...]]:
        """Leaves that stand for the inputs, and the outputs with their graph."""
        leaves = [
            x.detach().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x
            for x in self.inputs
        ]
        with torch.enable_grad(), self.autocast:
            return leaves, self.block.forward(*leaves)


class BlockCheckpoints:
    """What diffusers' ``enable_gradient_checkpointing`` calls instead of a block.

    By itself it is torch's own checkpointing. Inside :meth:`cut`, a forward pass leaves a graph
    that only :meth:`backward` can go through. The block's own ``forward`` is called, so that a
    compiled block runs as it is written: a backward pass over compiled ones can't be made twice.

    Blocks of a ``network`` that is divided gather their weights once for the forward pass, and once
    for the second computation with all its backward passes.
    """

    def __init__(self, network: nn.Module | None = None, shards: Shards = UNSHARDED) -> None:
        self._network = network
        self._shards = shards
        self._segments: list[_Segment] | None = None

    def __call__(self, block: nn.Module, *inputs: Any) -> Any:
        """Run the block. What it returns are tensors or None."""
        # Divided blocks gather their weights when they are called.
        run = block if self._shards.sharded else block.forward
        if self._segments is None:
            return checkpoint(run, *inputs, use_reentrant=False)
        tensors = [x for x in inputs if isinstance(x, Tensor)]
        carries = any(x.requires_grad for x in (*tensors, *block.parameters()))
        with torch.no_grad():
            outputs: tuple[Tensor | None, ...] = run(*inputs)
        if not carries:
            return outputs
        outputs = tuple(None if x is None else x.detach().requires_grad_() for x in outputs)
        self._segments.append(_Segment(block, inputs, outputs, _autocast(tensors[0].device.type)))
        return outputs

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Inside, forward passes are cut into blocks; one at a time, with its backward pass."""
        self._segments = []
        try:
            yield
        finally:
            self._segments = None

    def backward(self, output: Tensor, cotangents: Sequence[Tensor], prepare: Prepare) -> None:
        """Push every cotangent of ``output`` through the network, and forget the graph."""
        segments, self._segments = self._segments or [], []
        if not segments:
            raise RuntimeError("no block was run inside BlockCheckpoints.cut")
        found = _Cotangents(len(cotangents), prepare)
        # The head may lead past the blocks into the stem, whose graph is needed again below.
        found.push([output], [[each] for each in cotangents], segments[-1].outputs, retain=True)
        stem: dict[int, Tensor] = {}
        for segment in reversed(segments):
            with self._shards.gathered(segment.block):
                self._go_back(segment, found)
            stem |= {id(x): x for x in segment.inputs if isinstance(x, Tensor) and x.grad_fn}
        roots = list(stem.values())
        if roots:
            parts = [found.take(root) for root in roots]
            with self._shards.gathered(self._network):
                found.push(roots, [list(each) for each in zip(*parts, strict=True)], ())

    def _go_back(self, segment: _Segment, found: _Cotangents) -> None:
        """Compute a block again, and push through it what has arrived behind it."""
        wanted = [found.take(x) for x in segment.outputs]
        leaves, outputs = segment.computed_again()
        # An output that no trained weight leads to carries no gradient, whatever arrives behind it.
        kept = [
            (x, each)
            for x, each in zip(outputs, wanted, strict=True)
            if each and x is not None and x.requires_grad
        ]
        found.push(
            [x for x, _ in kept],
            [list(each) for each in zip(*(each for _, each in kept), strict=True)],
            leaves,
            names=segment.inputs,
        )


class _Cotangents:
    """What has arrived at the tensors between blocks, of every cotangent."""

    def __init__(self, count: int, prepare: Prepare) -> None:
        self._count = count
        self._prepare = prepare
        self._at: dict[int, list[Tensor]] = {}

    def take(self, tensor: Tensor | None) -> list[Tensor]:
        """One for every cotangent; nothing where none arrived."""
        return [] if tensor is None else self._at.pop(id(tensor), [])

    def push(
        self,
        outputs: Sequence[Tensor],
        cotangents: Sequence[Sequence[Tensor]],
        leaves: Sequence[Any],
        *,
        names: Sequence[Any] | None = None,
        retain: bool = False,
    ) -> None:
        """Backward passes from ``outputs``; what they leave at ``leaves`` goes to ``names``."""
        for number, each in enumerate(cotangents):
            self._prepare(number)
            keep = retain or number < self._count - 1
            torch.autograd.backward(outputs, each, retain_graph=keep)
            for leaf, name in zip(leaves, names or leaves, strict=True):
                if isinstance(leaf, Tensor) and leaf.grad is not None:
                    self._add(name, number, leaf.grad)
                    leaf.grad = None

    def _add(self, tensor: Tensor, number: int, gradient: Tensor) -> None:
        arrived = self._at.setdefault(id(tensor), [])
        if number < len(arrived):
            arrived[number] = arrived[number] + gradient
        else:
            arrived.append(gradient)


def _autocast(device: str) -> torch.autocast:
    """The state that holds now, to be entered again."""
    return torch.autocast(
        device, torch.get_autocast_dtype(device), enabled=torch.is_autocast_enabled(device)
    )
