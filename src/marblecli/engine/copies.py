"""Copies of tensors between the CPU and the device, in both directions, that nobody waits for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_MOST_PENDING = 2
"""Copies that may be under way at once; each takes as much of the CPU's memory as its tensor."""


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on ``device``; the tensor itself if it is there already.

    A tensor goes to CUDA from pinned memory, so that neither the device nor this process waits for
    the other. Torch keeps the pinned memory, and reuses it once the copy has been made.
    """
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


@dataclass(frozen=True)
class _Copy:
    copied: Tensor
    """On the CPU; complete once ``done`` has happened."""
    done: torch.cuda.Event | None
    """None if the copy is complete already."""
    use: Callable[[Tensor], None]


class CopiesToCpu:
    """Copies of tensors to the CPU, each used once it is complete, in the order they were started.

    On CUDA the copies run in a stream of their own, so the device goes on with its work. This
    process waits only when more than two copies are pending.
    """

    def __init__(self) -> None:
        self._pending: deque[_Copy] = deque()
        self._stream: torch.cuda.Stream | None = None

    def start(self, tensor: Tensor, use: Callable[[Tensor], None]) -> None:
        """Copy ``tensor`` to the CPU, and call ``use`` with the copy: now or later.

        After :meth:`settle`, ``use`` has been called. Don't change the tensor before that.
        """
        if tensor.is_cuda:
            copied, done = self._start_on_cuda(tensor)
            self._pending.append(_Copy(copied, done, use))
        else:
            self._pending.append(_Copy(tensor.cpu(), None, use))
        while len(self._pending) > _MOST_PENDING:
            self._use_first()

    def settle(self) -> None:
        """Wait for all copies, and use them."""
        while self._pending:
            self._use_first()

    def _start_on_cuda(self, tensor: Tensor) -> tuple[Tensor, torch.cuda.Event]:
        if self._stream is None:
            self._stream = torch.cuda.Stream(tensor.device)
        copied = torch.empty_like(tensor, device="cpu", pin_memory=True)
        self._stream.wait_stream(torch.cuda.current_stream(tensor.device))
        with torch.cuda.stream(self._stream):
            copied.copy_(tensor, non_blocking=True)
        # Else the tensor's memory could be given to another one before the copy is made.
        tensor.record_stream(self._stream)
        return copied, self._stream.record_event()

    def _use_first(self) -> None:
        first = self._pending.popleft()
        if first.done is not None:
            first.done.synchronize()
        first.use(first.copied)
