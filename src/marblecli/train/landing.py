"""Tensors on their way from the device to the CPU's memory, while the device goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_IN_THE_AIR = 2
"""Copies at once: one is under way while what came before it is used."""


@dataclass(frozen=True)
class _Flight:
    copied: Tensor
    """On the CPU; complete when ``landed``."""
    landed: torch.Event | None
    """None where it was never away."""
    use: Callable[[Tensor], None]


class Landings:
    """Copies whose use is put off until they have arrived, in the order in which they left."""

    def __init__(self) -> None:
        self._flights: deque[_Flight] = deque()

    def expect(self, tensor: Tensor, use: Callable[[Tensor], None]) -> None:
        """Call ``use`` with a copy of ``tensor`` on the CPU: now, later, or in :meth:`settle`."""
        if tensor.device.type == "cpu":
            self._flights.append(_Flight(tensor, None, use))
        else:
            copied = torch.empty_like(tensor, device="cpu", pin_memory=True)
            copied.copy_(tensor, non_blocking=True)
            landed = torch.Event(tensor.device)
            landed.record()
            self._flights.append(_Flight(copied, landed, use))
        while len(self._flights) > _IN_THE_AIR:
            self._land()

    def settle(self) -> None:
        """Wait for all, and use them."""
        while self._flights:
            self._land()

    def _land(self) -> None:
        flight = self._flights.popleft()
        if flight.landed is not None:
            flight.landed.synchronize()
        flight.use(flight.copied)
