"""How many operations a device makes in a second, measured by matrix products."""

from __future__ import annotations

import time

import torch

_SIDES = {"cpu": 1024, "cuda": 8192}
"""Rows and columns of the matrices: enough that the device is busy."""
_SECONDS = 2.0
"""For which products are measured."""


def measured_speed(device: torch.device, dtype: torch.dtype, seconds: float = _SECONDS) -> float:
    """Operations a second of products of square matrices; their median over the time given."""
    side = _SIDES.get(device.type, _SIDES["cuda"])
    one = torch.randn(side, side, device=device).to(dtype)
    two = torch.randn(side, side, device=device).to(dtype)
    found = [_seconds(one, two)]
    begun = time.perf_counter()
    # The first product loads kernels, so that it isn't counted.
    found.clear()
    while not found or time.perf_counter() - begun < seconds:
        found.append(_seconds(one, two))
    return 2.0 * side**3 / sorted(found)[len(found) // 2]


def _seconds(one: torch.Tensor, two: torch.Tensor) -> float:
    begun = time.perf_counter()
    product = one @ two
    if product.is_cuda:
        torch.cuda.synchronize(product.device)
    return time.perf_counter() - begun
