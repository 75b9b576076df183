"""Tensors on their way from the device to the CPU's memory, while the device goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_IN_THE_AIR = 2
"""Copies that aren't used yet: each takes as much of the CPU's memory as it is large."""


@dataclass(frozen=True)
class _Flight:
    copied: Tensor
    """On the CPU; complete when ``landed``."""
    landed: torch.cuda.Event | None
    """None where it is complete already."""
    use: Callable[[Tensor], None]


class Landings:
    """Copies whose use is put off until they have arrived, in the order in which they left.

    On CUDA they have a stream of their own: neither the device nor this process waits for them
    before there are too many.
    """

    def __init__(self) -> None:
        self._flights: deque[_Flight] = deque()
        self._stream: torch.cuda.Stream | None = None

    def expect(self, tensor: Tensor, use: Callable[[Tensor], None]) -> None:
        """Call ``use`` with a copy of ``tensor`` on the CPU: now, later, or in :meth:`settle`.

        Until then the tensor isn't to be changed.
        """
        if tensor.is_cuda:
            copied, landed = self._start(tensor)
            self._flights.append(_Flight(copied, landed, use))
        else:
            self._flights.append(_Flight(tensor.cpu(), None, use))
        while len(self._flights) > _IN_THE_AIR:
            self._land()

    def settle(self) -> None:
        """Wait for all, and use them."""
        while self._flights:
            self._land()

    def _start(self, tensor: Tensor) -> tuple[Tensor, torch.cuda.Event]:
        if self._stream is None:
            self._stream = torch.cuda.Stream(tensor.device)
        copied = torch.empty_like(tensor, device="cpu", pin_memory=True)
        self._stream.wait_stream(torch.cuda.current_stream(tensor.device))
        with torch.cuda.stream(self._stream):
            copied.copy_(tensor, non_blocking=True)
        # Whoever lets go of it would have its memory taken by others before it is copied.
        tensor.record_stream(self._stream)
        return copied, self._stream.record_event()

    def _land(self) -> None:
        flight = self._flights.popleft()
        if flight.landed is not None:
            flight.landed.synchronize()
        flight.use(flight.copied)
