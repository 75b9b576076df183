"""The peak of memory while something runs."""

from __future__ import annotations

import threading

import psutil
import torch

_PAUSE = 0.005


class PeakMemory:
    """The highest resident memory of the process, above that at the start.

    It is sampled every 5 ms, so a shorter peak may be missed. On a CUDA device, torch counts the
    highest memory that it allocates exactly.
    """

    def __init__(self, device: str) -> None:
        self._process = psutil.Process()
        self._device = torch.device(device)
        self._start = self._highest = self._resident()
        self._stop = threading.Event()
        if self._device.type == "cuda":
            # A device that is given with its number can't be reset before CUDA is set up.
            torch.cuda.init()  # type: ignore[no-untyped-call] # torch has no type for it
            torch.cuda.reset_peak_memory_stats(self._device)
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)
        self._thread.start()

    def stop(self) -> tuple[float, float]:
        """Stop, and return the peaks of process and device in 10^6 bytes; 0 if it is the CPU."""
        self._stop.set()
        self._thread.join()
        self._highest = max(self._highest, self._resident())
        on_device = 0
        if self._device.type == "cuda":
            on_device = torch.cuda.max_memory_allocated(self._device)
        return (self._highest - self._start) / 1e6, on_device / 1e6

    def _watch(self) -> None:
        while not self._stop.wait(_PAUSE):
            self._highest = max(self._highest, self._resident())

    def _resident(self) -> int:
        return int(self._process.memory_info().rss)
