"""A backward pass that sums each parameter's gradient over samples with several sets of weights.

Every reward's gradient is sum_i S_ik a_i + T_ik b_i for two vectors a_i and b_i a sample, whatever
the number of rewards. So two backward passes are enough for all of them, if each layer contracts
its per-sample gradients with the weights as the pass goes by. Nothing per sample is kept: what
stays are C accumulators of the parameters' size, for C sets of weights.
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


@dataclass
class _Weights:
    """The weights of the pass that runs, shared by all layers."""

    rows: Tensor
    """[B, c]."""
    columns: slice
    """Of the C accumulators, the c that it fills."""


class Contraction:
    """Accumulators of the gradients of ``parameters``, filled by :meth:`backward`.

    Inside :meth:`tapped`, the layers of ``network`` that own the parameters run as always, but a
    backward pass through them fills the accumulators and leaves ``.grad`` alone. Inputs and
    outputs of those layers must have the B samples first (B may be multiplied out with what
    follows). ``columns`` is C.
    """

    def __init__(self, network: nn.Module, parameters: Sequence[Parameter], columns: int) -> None:
        self.totals = [
            torch.zeros((columns, *parameter.shape), device=parameter.device, dtype=parameter.dtype)
            for parameter in parameters
        ]
        """For each parameter [C, ...]."""
        self._weights: _Weights | None = None
        places = {
            id(parameter): total for parameter, total in zip(parameters, self.totals, strict=True)
        }
        self._taps = [
            _tap_of(module, places, self._current)
            for module in network.modules()
            if any(id(parameter) in places for parameter in module.parameters(recurse=False))
        ]

    @contextmanager
    def tapped(self) -> Iterator[None]:
        """Inside, forward passes of the network prepare the contraction."""
        with ExitStack() as stack:
            for tap in self._taps:
                stack.enter_context(tap.installed())
            yield

    def backward(
        self, output: Tensor, cotangent: Tensor, weights: Tensor, columns: slice, *, last: bool
    ) -> None:
        """Add sum_i weights_ic J_i^T cotangent_i to accumulator ``columns[c]``.

        ``output`` and ``cotangent`` are [B, ...], ``weights`` [B, c]. ``last`` frees the graph.
        """
        self._weights = _Weights(weights, columns)
        torch.autograd.backward(output, cotangent, retain_graph=not last)
        self._weights = None

    def _current(self) -> _Weights:
        if self._weights is None:
            raise RuntimeError(
                "a tapped layer's gradient was asked for outside Contraction.backward"
            )
        return self._weights


class _Tap:
    """One layer: runs as it always did, contracts when a gradient comes by.

    This general form differentiates the layer once for every set of weights.
    """

    def __init__(
        self, layer: nn.Module, totals: dict[str, Tensor], weights: Callable[[], _Weights]
    ) -> None:
        self.layer = layer
        self.totals = totals
        self.weights = weights
        self.parameters = [getattr(layer, name) for name in totals]

    @contextmanager
    def installed(self) -> Iterator[None]:
        self.run: Callable[[Tensor], Tensor] = self.layer.forward
        self.layer.forward = partial(_tapped, self)
        try:
            yield
        finally:
            del self.layer.forward

    def backward(self, x: Tensor, gradient: Tensor, *, wanted: bool) -> Tensor | None:
        """Contract; the gradient of the input, if ``wanted``."""
        weights = self.weights()
        with torch.enable_grad():
            x = x.detach().requires_grad_(wanted)
            output = self.run(x)
        spread = weights.rows.repeat_interleave(len(gradient) // len(weights.rows), 0)
        for place, column in zip(range(len(weights.rows.T)), spread.T, strict=True):
            weighted = gradient * column.view(-1, *(1,) * (gradient.ndim - 1)).to(gradient)
            found = torch.autograd.grad(output, self.parameters, weighted, retain_graph=True)
            for total, part in zip(self.totals.values(), found, strict=True):
                total[weights.columns][place] += part
        return torch.autograd.grad(output, x, gradient)[0] if wanted else None


class _LinearTap(_Tap):
    """A linear layer: one product a sample, then one with all sets of weights at once."""

    layer: nn.Linear

    def backward(self, x: Tensor, gradient: Tensor, *, wanted: bool) -> Tensor | None:
        weights = self.weights()
        rows = weights.rows
        outputs = gradient.reshape(len(rows), -1, gradient.shape[-1])
        inputs = x.to(gradient.dtype).reshape(len(rows), -1, x.shape[-1])
        if "weight" in self.totals:
            self._add("weight", torch.bmm(outputs.mT, inputs), weights)
        if "bias" in self.totals:
            self._add("bias", outputs.sum(1), weights)
        return (gradient @ self.layer.weight.to(gradient.dtype)).to(x.dtype) if wanted else None

    def _add(self, name: str, each: Tensor, weights: _Weights) -> None:
        total = self.totals[name][weights.columns].flatten(1)
        total.addmm_(weights.rows.T.to(total), each.flatten(1).to(total.dtype))


def _tap_of(layer: nn.Module, places: dict[int, Tensor], weights: Callable[[], _Weights]) -> _Tap:
    owned = layer.named_parameters(recurse=False)
    totals = {name: places[id(parameter)] for name, parameter in owned if id(parameter) in places}
    kind = _LinearTap if isinstance(layer, nn.Linear) else _Tap
    return kind(layer, totals, weights)


def _tapped(tap: _Tap, x: Tensor) -> Tensor:
    result: Tensor = _Contract.apply(tap, x, *tap.parameters)
    return result


class _Contract(torch.autograd.Function):
    """Runs the tap's layer; its backward fills the accumulators instead of the parameters."""

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
