"""The memory that a process has in use: CUDA's, or on a CPU the resident memory of the process."""

from __future__ import annotations

from dataclasses import dataclass

import psutil
import torch


@dataclass(frozen=True)
class InUse:
    """Bytes of a device."""

    allocated: int
    """By tensors."""
    reserved: int
    """By torch's allocator, which keeps what was freed."""
    outside: int
    """By CUDA itself: its context and its libraries."""


class DeviceMemory:
    """Peaks of the memory in use. The process's resident memory has no peak: it is asked now."""

    def __init__(self) -> None:
        self._cuda = torch.cuda.is_available()
        self._reserved = 0
        if self._cuda:
            # Peaks can't be reset before CUDA is set up.
            torch.cuda.init()
        self.take_peak()

    def take_peak(self) -> int:
        """The most bytes of tensors at once since this was last asked."""
        if not self._cuda:
            return int(psutil.Process().memory_info().rss)
        peak = torch.cuda.max_memory_allocated()
        self._reserved = max(self._reserved, torch.cuda.max_memory_reserved())
        torch.cuda.reset_peak_memory_stats()
        return int(peak)

    def at_most(self, allocated: int) -> InUse:
        """The peaks until now, of which those of tensors were taken: ``allocated`` bytes."""
        if not self._cuda:
            return InUse(allocated, allocated, 0)
        self.take_peak()
        free, total = torch.cuda.mem_get_info()
        outside = total - free - torch.cuda.memory_reserved()
        return InUse(allocated, self._reserved, int(outside))


def cap(gib: float) -> None:
    """Have torch's allocator refuse more than ``gib`` GiB; without CUDA, do nothing."""
    if torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, gib * 2**30 / total))


def total_memory() -> int | None:
    """Bytes of the card; None without CUDA."""
    if not torch.cuda.is_available():
        return None
    return int(torch.cuda.get_device_properties(0).total_memory)
