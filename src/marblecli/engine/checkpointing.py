"""Gradient checkpointing of a transformer's blocks, for one backward pass or for several at once.

Only the blocks' inputs are kept, and a backward pass computes their activations again. Several
backward passes over one graph would compute them several times. To avoid that,
:meth:`BlockCheckpoints.backward` takes all cotangents together, block by block. If a backward pass
costs as much as b forward passes, n cotangents then cost 1 + n b forward passes instead of
n (1 + b).
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
    """Detached from the block's graph. The next block gets these very tensors as inputs, so that
    gradients at its inputs are found again as gradients at these outputs."""
    autocast: torch.autocast

    def computed_again(self) -> tuple[list[Tensor | None], tuple[Tensor | None, ...]]:
        """Run the block again. Returns new leaves in place of its inputs, and the outputs with
        their graph.
        """
        leaves = [
            x.detach().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x
            for x in self.inputs
        ]
        with torch.enable_grad(), self.autocast:
            return leaves, self.block.forward(*leaves)


class BlockCheckpoints:
    """What diffusers' ``enable_gradient_checkpointing`` calls instead of a block.

    Outside :meth:`cut` it does what torch's own checkpointing does. Inside it, a forward pass
    leaves a graph that only :meth:`backward` can go through. A compiled block runs uncompiled here,
    by its own ``forward``, because a graph of compiled blocks allows one backward pass only.

    The blocks of a sharded ``network`` gather their weights twice: for the forward pass, and for
    the second computation with all its backward passes.
    """

    def __init__(self, network: nn.Module | None = None, shards: Shards = UNSHARDED) -> None:
        self._network = network
        self._shards = shards
        self._segments: list[_Segment] | None = None

    def __call__(self, block: nn.Module, *inputs: Any) -> Any:
        """Run the block; it returns tensors or None."""
        # A sharded block gathers its weights only when it is called as a module.
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
        """Inside, each forward pass is cut into blocks, for :meth:`backward`.

        Call :meth:`backward` before the next forward pass.
        """
        self._segments = []
        try:
            yield
        finally:
            self._segments = None

    def backward(self, output: Tensor, cotangents: Sequence[Tensor], prepare: Prepare) -> None:
        """Make one backward pass for each of the ``cotangents`` of ``output``; frees the graph.

        ``prepare`` is called with a cotangent's number before each piece of its backward pass.
        Gradients are added where the parameters put them, by default to ``.grad``. Raises
        RuntimeError if no block was run inside :meth:`cut`.
        """
        segments, self._segments = self._segments or [], []
        if not segments:
            raise RuntimeError("no block was run inside BlockCheckpoints.cut")
        found = _Cotangents(len(cotangents), prepare)
        # The head's graph may go past the blocks to the stem, whose graph is used again below.
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
        """Run a block again, and make its part of every backward pass."""
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
    """The gradients at the tensors between blocks, for every cotangent."""

    def __init__(self, count: int, prepare: Prepare) -> None:
        self._count = count
        self._prepare = prepare
        self._at: dict[int, list[Tensor]] = {}

    def take(self, tensor: Tensor | None) -> list[Tensor]:
        """Remove and return the gradients at ``tensor``, one for each cotangent.

        Empty if ``tensor`` has none.
        """
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
        """Make the backward passes from ``outputs``, one for each of the ``cotangents``.

        The gradients at ``leaves`` are kept as those of the tensors ``names``, by default of
        ``leaves`` themselves.
        """
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
    """The state of autocast now, to be entered again later."""
    return torch.autocast(
        device, torch.get_autocast_dtype(device), enabled=torch.is_autocast_enabled(device)
    )
