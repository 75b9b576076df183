"""Backward passes that sum the samples' gradients with several sets of weights at once.

The gradient of reward k is sum_i S_ik a_i + T_ik b_i, with two vectors a_i and b_i for each sample
i, whatever the number of rewards. So two backward passes are enough for all rewards, if each layer
multiplies its per-sample gradients by all sets of weights while the pass is there. Per-sample
gradients aren't kept. What is kept are C accumulators of the parameters' size, for C sets of
weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import Parameter

from marblecli.engine.checkpointing import BlockCheckpoints
from marblecli.engine.shards import UNSHARDED, ScatteredSums, Shards, local_rows


@dataclass(frozen=True)
class BackwardPass:
    """A vector for each sample, and its weight in each accumulator."""

    cotangent: Tensor
    """[B, ...], the vectors: gradients by the network's output."""
    weights: Tensor
    """[B, c], the weight of each vector in each of c accumulators."""
    columns: slice
    """Which c of the C accumulators are filled."""


class Contraction:
    """Accumulators for the gradients of ``parameters``, filled by :meth:`backward`.

    Inside :meth:`tapped`, the layers of ``network`` that own the parameters compute the same output
    as before, but a backward pass through them fills the accumulators and doesn't change ``.grad``.
    The first dimension of these layers' inputs and outputs must be the B samples, or the B samples
    flattened with the dimensions after it. ``columns`` is C; ``checkpoints`` are the network's, if
    it has any.

    If the parameters are sharded, so are the accumulators: :meth:`backward` adds this process's
    rows of the sum over all processes. A layer's whole gradient exists only until it is sent.
    """

    def __init__(
        self,
        network: nn.Module,
        parameters: Sequence[Parameter],
        columns: int,
        checkpoints: BlockCheckpoints | None = None,
        shards: Shards = UNSHARDED,
    ) -> None:
        held = [local_rows(each) for each in parameters] if shards.sharded else parameters
        self.totals = [
            torch.zeros((columns, *parameter.shape), device=parameter.device, dtype=parameter.dtype)
            for parameter in held
        ]
        """The accumulators: for each parameter [C, ...]."""
        self._checkpoints = checkpoints
        self._sums = ScatteredSums(shards) if shards.sharded else None
        self._target = _Target(self._sums)
        places = {
            id(parameter): total for parameter, total in zip(parameters, self.totals, strict=True)
        }
        self._taps = [
            _tap_of(module, places, self._target)
            for module in network.modules()
            if any(id(parameter) in places for parameter in module.parameters(recurse=False))
        ]

    @contextmanager
    def tapped(self) -> Iterator[None]:
        """Inside, forward passes of the network are prepared for :meth:`backward`."""
        with ExitStack() as stack:
            for tap in self._taps:
                stack.enter_context(tap.installed())
            if self._checkpoints is not None:
                stack.enter_context(self._checkpoints.cut())
            yield

    def backward(self, output: Tensor, passes: Sequence[BackwardPass]) -> None:
        """Add sum_i weights_ic J_i^T cotangent_i to accumulator ``columns[c]``, for every pass.

        J_i is the Jacobian of sample i's output by the parameters. ``output`` [B, ...] is the
        network's; its graph is freed.
        """
        if self._checkpoints is not None:
            cotangents = [each.cotangent for each in passes]
            self._checkpoints.backward(output, cotangents, lambda n: self._run(passes[n]))
        else:
            for number, each in enumerate(passes, start=1):
                self._run(each)
                keep = number < len(passes)
                torch.autograd.backward(output, each.cotangent, retain_graph=keep)
        if self._sums is not None:
            self._sums.settle()
        self._target.running = None

    def _run(self, one: BackwardPass) -> None:
        self._target.running = one


@dataclass
class _Target:
    """Where the taps of a network add what they find.

    It doesn't refer to the contraction: the accumulators would be garbage in a cycle then, and stay
    in memory beside those of the next step.
    """

    sums: ScatteredSums | None
    """Where the accumulators are sharded."""
    running: BackwardPass | None = None

    def current(self) -> BackwardPass:
        """The pass that runs."""
        if self.running is None:
            raise RuntimeError(
                "a tapped layer's gradient was asked for outside Contraction.backward"
            )
        return self.running


class _Tap:
    """One layer of a tapped network, whose backward pass fills the accumulators.

    This general form works for any layer: it differentiates the layer once for each set of weights.
    """

    def __init__(self, layer: nn.Module, totals: dict[str, Tensor], target: _Target) -> None:
        self.layer = layer
        self.totals = totals
        self.target = target

    @property
    def parameters(self) -> list[Parameter]:
        """The layer's parameters; sharded ones are whole during its forward and backward pass."""
        return [getattr(self.layer, name) for name in self.totals]

    @contextmanager
    def installed(self) -> Iterator[None]:
        self.run: Callable[[Tensor], Tensor] = self.layer.forward
        self.layer.forward = partial(_tapped, self)
        try:
            yield
        finally:
            del self.layer.forward

    def backward(self, x: Tensor, gradient: Tensor, *, wanted: bool) -> Tensor | None:
        """Fill the accumulators. Returns the gradient by the input ``x``, if it is ``wanted``."""
        current, parameters = self.target.current(), self.parameters
        with torch.enable_grad():
            x = x.detach().requires_grad_(wanted)
            output = self.run(x)
        rows = current.weights
        spread = rows.repeat_interleave(len(gradient) // len(rows), 0)
        found = []
        for column in spread.T:
            weighted = gradient * column.view(-1, *(1,) * (gradient.ndim - 1)).to(gradient)
            found.append(torch.autograd.grad(output, parameters, weighted, retain_graph=True))
        for total, parts in zip(self.totals.values(), zip(*found, strict=True), strict=True):
            self._add(total[current.columns], torch.stack(parts))
        return torch.autograd.grad(output, x, gradient)[0] if wanted else None

    def _add(self, total: Tensor, found: Tensor) -> None:
        if self.target.sums is None:
            total += found
        else:
            self.target.sums.add(total, found)


class _LinearTap(_Tap):
    """A linear layer: it computes per-sample gradients, then multiplies by all sets of weights.

    If each sample is one token, no per-sample gradients are computed: each of them would be as
    large as the layer's weight.
    """

    layer: nn.Linear

    def backward(self, x: Tensor, gradient: Tensor, *, wanted: bool) -> Tensor | None:
        current = self.target.current()
        rows = current.weights
        outputs = gradient.reshape(len(rows), -1, gradient.shape[-1])
        inputs = x.to(gradient.dtype).reshape(len(rows), -1, x.shape[-1])
        if "weight" in self.totals:
            if outputs.shape[1] == 1:
                self._contract_tokens(outputs[:, 0], inputs[:, 0], current)
            else:
                self._contract("weight", torch.bmm(outputs.mT, inputs), current)
        if "bias" in self.totals:
            self._contract("bias", outputs.sum(1), current)
        return (gradient @ self.layer.weight.to(gradient.dtype)).to(x.dtype) if wanted else None

    def _contract(self, name: str, each: Tensor, current: BackwardPass) -> None:
        total = self.totals[name][current.columns]
        weights, flat = (x.to(total.dtype) for x in (current.weights.T, each.flatten(1)))
        if self.target.sums is None:
            total.flatten(1).addmm_(weights, flat)
        else:
            self.target.sums.add_columns(
                total, each[0], lambda some: (weights[some] @ flat).unflatten(1, each.shape[1:])
            )

    def _contract_tokens(self, outputs: Tensor, inputs: Tensor, current: BackwardPass) -> None:
        total = self.totals["weight"][current.columns]
        outputs, inputs = outputs.to(total.dtype), inputs.to(total.dtype)
        weighted = current.weights.T.to(total.dtype)[:, None] * outputs.T
        if self.target.sums is None:
            total.baddbmm_(weighted, inputs.expand(len(weighted), *inputs.shape))
        else:
            self.target.sums.add_columns(
                total, self.layer.weight, lambda some: weighted[some] @ inputs
            )


def _tap_of(layer: nn.Module, places: dict[int, Tensor], target: _Target) -> _Tap:
    owned = layer.named_parameters(recurse=False)
    totals = {name: places[id(parameter)] for name, parameter in owned if id(parameter) in places}
    kind = _LinearTap if isinstance(layer, nn.Linear) else _Tap
    return kind(layer, totals, target)


def _tapped(tap: _Tap, x: Tensor) -> Tensor:
    result: Tensor = _Contract.apply(tap, x, *tap.parameters)
    return result


class _Contract(torch.autograd.Function):
    """Runs the tap's layer; its backward pass fills the accumulators instead of ``.grad``."""

    @staticmethod
    def forward(ctx: Any, tap: _Tap, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.tap = tap
        ctx.count = len(parameters)
        ctx.save_for_backward(x)
        return tap.run(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        wanted = ctx.needs_input_grad[1]
        return (None, ctx.tap.backward(x, gradient, wanted=wanted), *(None,) * ctx.count)
