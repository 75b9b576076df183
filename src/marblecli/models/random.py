"""A module whose weights are drawn: the same bits for a seed, and little memory besides them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import PreTrainedModel

_POOL = 2**22 + 15
"""Normal numbers drawn for one module. All of its weights are cut from them: drawing five thousand
million takes minutes. Prime, so that no two rows of a matrix are alike."""


def empty_part(build: Callable[[], nn.Module]) -> nn.Module:
    """What ``build`` makes, with its parameters on the meta device: names and shapes alone.

    Buffers are as their class makes them.
    """
    with init_empty_weights(include_buffers=False):
        part = build()
    if isinstance(part, PreTrainedModel):
        part.tie_weights()
    return part


def unset_part(build: Callable[[], nn.Module], dtype: torch.dtype) -> nn.Module:
    """What ``build`` makes, frozen and in ``dtype``, with whatever weights its class gives it.

    It is for ``FakeTensorMode``, where those take no memory and no time.
    """
    part = build()
    _replace(part, dtype, lambda _, parameter: parameter.to(dtype))
    return part.eval()


def drawn_part(
    build: Callable[[], nn.Module], dtype: torch.dtype, generator: torch.Generator
) -> nn.Module:
    """What ``build`` makes, frozen, on the CPU, in ``dtype``, with weights drawn by ``generator``.

    Matrices and kernels are normal with variance 1 / fan-in, norms one and biases zero, which keeps
    activations near unit size. Buffers hold what isn't drawn: they are as their class makes them.
    """
    part = empty_part(build)
    size = sum(parameter.numel() for parameter in part.parameters())
    pool = torch.randn(min(size, _POOL), generator=generator).to(dtype)
    place = 0

    def draw(name: str, like: Tensor) -> Tensor:
        nonlocal place
        value = _draw(name, like, pool, place)
        place += value.numel()
        return value

    _replace(part, dtype, draw)
    return part.eval()


def _replace(part: nn.Module, dtype: torch.dtype, value: Callable[[str, Tensor], Tensor]) -> None:
    """Have ``value(name, parameter)`` in place of every parameter, and the buffers in ``dtype``.

    It isn't done by ``part.to``: for some classes diffusers would warn of it.
    """
    made: dict[int, nn.Parameter] = {}
    for module in part.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if id(parameter) not in made:  # Tied weights stay tied.
                made[id(parameter)] = nn.Parameter(value(name, parameter), requires_grad=False)
            setattr(module, name, made[id(parameter)])
        for name, buffer in list(module.named_buffers(recurse=False)):
            if buffer.is_floating_point():
                setattr(module, name, buffer.to(dtype))


def _draw(name: str, like: Tensor, pool: Tensor, place: int) -> Tensor:
    if like.ndim < 2:
        constant = 0.0 if name.endswith("bias") else 1.0
        return torch.full(like.shape, constant, dtype=pool.dtype)
    value = torch.empty(like.shape, dtype=pool.dtype)
    flat, scale = value.view(-1), 1.0 / math.sqrt(like[0].numel())
    start = 0
    while start < len(flat):
        piece = pool[(place + start) % len(pool) :][: len(flat) - start]
        torch.mul(piece, scale, out=flat[start : start + len(piece)])
        start += len(piece)
    return value
